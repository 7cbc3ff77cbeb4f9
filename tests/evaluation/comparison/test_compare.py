from dataclasses import replace

import numpy as np
import pytest

from segpipe.errors import ConfigError, DatasetError
from segpipe.evaluation.comparison.compare import compare
from segpipe.evaluation.comparison.text import describe_comparison
from segpipe.evaluation.evaluate import evaluate_pair, summarise, write_evaluation
from segpipe.evaluation.reading import build_evaluation, read_evaluation
from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.geometry import Grid

GRID = Grid((30, 20, 12), np.diag([1.0, 1.0, 1.0, 1.0]))
COUNT = 8


def block(start, size=4):
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[start : start + size, 5 : 5 + size, 2 : 2 + size] = 1
    return mask


def results(shift, *, cases=range(COUNT), size=4):
    """Each reference is a block; the prediction is `shift(case)` voxels away, or empty for None."""
    found = []
    for number in cases:
        away = shift(number)
        prediction = np.zeros(GRID.shape, dtype=np.uint8) if away is None else block(10 + away, size)
        extra = {"texture": 5 if number % 2 else 1}
        found.append(
            evaluate_pair(f"case{number}", f"patient{number // 2}", prediction, block(10, size), GRID, extra=extra)
        )
    return found


def evaluation(name, shift, *, data_hash="d1", **options):
    found = results(shift, **options)
    return build_evaluation(name, {"data_hash": data_hash, **summarise(found)}, case_rows(found), lesion_rows(found))


def test_a_run_that_is_better_in_every_case_by_pencil():
    # Shifted by 2 of 4 voxels Dice is 1/2, by 1 it is 3/4; four patients give 16 ways, two reach the difference.
    report = compare([evaluation("old", lambda _: 2), evaluation("new", lambda _: 1)])
    (pair,) = report["pairs"]
    dice = pair["metrics"]["dice"]
    assert (dice["first"], dice["second"], dice["difference"]) == (0.5, 0.75, 0.25)
    assert dice["ci95"] == [0.25, 0.25]
    assert dice["p"] == dice["p_holm"] == 2 / 16
    assert (dice["wins"], dice["ties"], dice["losses"]) == (8, 0, 0)
    assert (pair["cases_shared"], pair["patients_shared"]) == (8, 4)
    assert report["best"] == "new"
    assert report["notes"] == []


def test_smaller_is_better_for_distances_and_volume_errors_count_by_size():
    report = compare([evaluation("old", lambda _: 3), evaluation("new", lambda n: 0 if n else 3)], metric="hd95_mm")
    pair = report["pairs"][0]
    assert (pair["metrics"]["hd95_mm"]["wins"], pair["metrics"]["hd95_mm"]["ties"]) == (7, 1)
    assert report["best"] == "new"
    assert pair["metrics"]["volume_error_pct"]["ties"] == 8


def test_cases_where_a_figure_is_undefined_are_left_out_of_it():
    pair = compare([evaluation("a", lambda _: 1), evaluation("b", lambda n: None if n == 3 else 1)])["pairs"][0]
    assert pair["metrics"]["dice"]["cases"] == 8
    assert pair["metrics"]["hd95_mm"]["cases"] == 7


def test_lesion_ratios_are_compared_over_all_cases():
    pair = compare([evaluation("a", lambda n: None if n < 4 else 0), evaluation("b", lambda _: 0)])["pairs"][0]
    assert pair["lesions"]["recall"]["first"] == 0.5
    assert pair["lesions"]["recall"]["second"] == 1.0
    assert pair["lesions"]["panoptic_quality"]["first"] == pytest.approx(4 / (4 + 2))


def test_the_cases_that_differ_most_come_first():
    report = compare([evaluation("a", lambda _: 0), evaluation("b", lambda n: {2: 3, 5: 1}.get(n, 0))])
    shown = report["pairs"][0]["cases"]
    assert [row["case"] for row in shown[:2]] == ["case2", "case5"]
    assert shown[0]["difference"] == pytest.approx(-0.75)


def test_strata_where_runs_differ():
    count = 24  # twelve patients, so that p-values can be small enough
    first = evaluation("a", lambda _: 1, cases=range(count))
    second = evaluation("b", lambda n: 0 if n % 2 else 1, cases=range(count))
    strata = compare([first, second])["pairs"][0]["strata"]
    assert strata["texture"]["solid"]["differs"]
    assert strata["texture"]["solid"]["difference"] == pytest.approx(0.25)
    assert not strata["texture"]["ground glass"]["differs"]
    assert strata["texture"]["ground glass"]["difference"] == 0.0
    assert strata["diameter"]["6-8 mm"]["lesions"] == 24  # √27 + 1 mm


def froc(cpm, **sizes):
    rates = {"0.125": cpm / 2, "8": 1.5 * cpm}
    return {"sensitivity_at_fp_per_scan": rates, "cpm": cpm, **({"by_diameter": sizes} if sizes else {})}


def test_sensitivities_along_the_froc_before_and_after():
    first, second = evaluation("a", lambda _: 1), evaluation("b", lambda _: 0)
    small = {name: {"lesions": 3, **froc(cpm)} for name, cpm in (("before", 0.25), ("after", 0.5))}
    before = replace(first, summary={"detection": {"overlap": froc(0.5, small=small["before"], large=froc(0.75))}})
    after = replace(second, summary={"detection": {"overlap": froc(0.625, small=small["after"]), "centre": froc(1.0)}})
    report = compare([before, after])
    sizes = report["pairs"][0]["froc"]["overlap"]
    assert {size: row["difference"]["cpm"] for size, row in sizes.items()} == {"all": 0.125, "small": 0.25}
    assert sizes["small"]["lesions"] == 3
    assert (sizes["small"]["first"]["8"], sizes["small"]["second"]["8"]) == (0.375, 0.75)
    text = describe_comparison(report)
    assert "CPM by diameter of the lesion, matched by overlap" in text
    assert "  small  0.250  0.500  +0.250" in text


def test_frocs_of_other_cases_or_without_confidences_are_not_compared():
    first = evaluation("a", lambda _: 1)
    curves = {"detection": {"overlap": froc(0.5)}}
    fewer = replace(evaluation("b", lambda _: 0, cases=range(6)), summary=curves)
    assert compare([replace(first, summary=curves), fewer])["pairs"][0]["froc"] == {}
    assert compare([first, evaluation("b", lambda _: 0)])["pairs"][0]["froc"] == {}


def test_three_runs_are_compared_in_pairs_with_corrected_p_values():
    report = compare([evaluation(name, lambda _, by=by: by) for name, by in (("a", 2), ("b", 1), ("c", 0))])
    assert [(pair["first"], pair["second"]) for pair in report["pairs"]] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair["metrics"]["dice"]["p"] for pair in report["pairs"]] == [0.125] * 3
    assert [pair["metrics"]["dice"]["p_holm"] for pair in report["pairs"]] == [0.375] * 3
    assert report["best"] == "c"


def test_other_data_are_refused_and_forced_with_a_note():
    runs = [evaluation("a", lambda _: 0), evaluation("b", lambda _: 0, data_hash="d2")]
    with pytest.raises(DatasetError, match="not evaluated on the same data") as caught:
        compare(runs)
    assert "a d1, b d2" in str(caught.value)
    assert "--force" in str(caught.value)
    assert compare(runs, force=True)["notes"] == ["compared by force: the data hashes differ: a d1, b d2"]


def test_other_references_under_the_same_names_are_refused():
    runs = [evaluation("a", lambda _: 0, data_hash=None), evaluation("b", lambda _: 0, size=5)]
    with pytest.raises(DatasetError) as caught:
        compare(runs)
    assert "a and b have different references for 8 cases" in str(caught.value)


def test_an_evaluation_that_does_not_state_its_hash_is_compared_by_its_references():
    assert compare([evaluation("a", lambda _: 0, data_hash=None), evaluation("b", lambda _: 1)])["notes"] == []


def test_runs_that_share_no_case_cannot_be_compared():
    with pytest.raises(DatasetError, match="no case in common"):
        compare([evaluation("a", lambda _: 0, cases=range(4)), evaluation("b", lambda _: 0, cases=range(4, 8))])


def test_one_run_or_an_unknown_metric_is_refused():
    with pytest.raises(ConfigError, match="two runs or more"):
        compare([evaluation("a", lambda _: 0)])
    with pytest.raises(ConfigError, match="the metric is not known"):
        compare([evaluation("a", lambda _: 0), evaluation("b", lambda _: 0)], metric="dise")


def test_an_evaluation_is_read_back_as_it_was_written(tmp_path):
    found = results(lambda n: None if n == 1 else n % 3)
    write_evaluation(tmp_path, found, {"data_hash": "d1", **summarise(found)})
    read = read_evaluation(tmp_path, name="a")
    assert [row["dice"] for row in read.cases] == pytest.approx([result.figures["dice"] for result in found])
    assert read.cases[1]["hd95_mm"] is None
    assert (
        compare([read, evaluation("b", lambda n: None if n == 1 else n % 3)])["pairs"][0]["metrics"]["dice"]["p"] == 1.0
    )


def test_damaged_evaluations_are_reported(tmp_path):
    found = results(lambda _: 0)
    write_evaluation(tmp_path, found, summarise(found))
    (tmp_path / "summary.json").write_text("{")
    with pytest.raises(DatasetError, match="the summary cannot be read"):
        read_evaluation(tmp_path, name="a")
    (tmp_path / "cases.csv").write_text("case,patient\na,b\n")
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(DatasetError, match="lacks columns"):
        read_evaluation(tmp_path, name="a")
    (tmp_path / "lesions.csv").unlink()
    with pytest.raises(DatasetError, match="a table of the evaluation cannot be read"):
        read_evaluation(tmp_path, name="a")
    with pytest.raises(DatasetError, match="has no case"):
        build_evaluation("a", {}, [], [])
