from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.evaluation.detection.froc import FP_RATES, Marks, collect_marks, froc_curve
from segpipe.evaluation.detection.froc_by_diameter import sensitivity_by_diameter
from segpipe.evaluation.detection.froc_summary import froc_summary
from segpipe.evaluation.evaluate import summarise
from segpipe.evaluation.results import CaseResult, Detection, ReferenceLesion
from segpipe.evaluation.tables import froc_by_diameter_rows
from segpipe.evaluation.text_summary import describe

ORIGIN = (0.0, 0.0, 0.0)
STRATA = 4


def case(name, diameters, marks):
    """A mark is its confidence and the number of its lesion, None for a false positive."""
    lesions = tuple(ReferenceLesion(number, 100.0, size, ORIGIN) for number, size in enumerate(diameters, start=1))
    detections = tuple(Detection(sure, lesion, () if lesion is None else (lesion,)) for sure, lesion in marks)
    return CaseResult(name, f"patient of {name}", "no", {}, 0.0, 0.0, lesions, (), detections=detections)


def two_scans():
    """5 mm found at 0.9 and 12 mm missed; 7 mm found at 0.7 after a false one at 0.8; two false ones at 0.6."""
    return [case("a", [5.0, 12.0], [(0.9, 1), (0.8, None), (0.6, None), (0.6, None)]), case("b", [7.0], [(0.7, 1)])]


@pytest.mark.parametrize("rule", ["overlap", "centre"])
def test_sensitivities_of_each_diameter_by_pencil(rule):
    small, middle, large, none = sensitivity_by_diameter(collect_marks(two_scans(), rule), np.ones((1, 2)))[0]
    assert small.tolist() == [1.0] * 7
    assert middle.tolist() == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]  # at half a false positive a scan, not before
    assert large.tolist() == [0.0] * 7
    assert np.isnan(none).all()


def test_true_and_false_positives_of_one_confidence_come_together_by_pencil():
    # (0, 0) and (2, 1) joined by a line: an eighth of the way at a quarter of a false positive
    marks = collect_marks([case("a", [7.0], [(0.5, None), (0.5, 1), (0.5, None)])], "overlap")
    expected = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 1.0, 1.0]
    assert sensitivity_by_diameter(marks, np.ones((1, 1)))[0, 1].tolist() == expected


def test_the_summary_names_the_lesions_and_the_mean_of_each_diameter():
    found = summarise(two_scans())["detection"]["overlap"]["by_diameter"]
    assert {name: row["lesions"] for name, row in found.items()} == {"under 6 mm": 1, "6-8 mm": 1, "8-15 mm": 1}
    assert {name: row["cpm"] for name, row in found.items()} == {
        "under 6 mm": 1.0,
        "6-8 mm": pytest.approx(5 / 7),
        "8-15 mm": 0.0,
    }
    assert found["6-8 mm"]["sensitivity_at_fp_per_scan"]["0.5"] == 1.0


def test_intervals_are_over_patients_with_lesions_of_the_diameter():
    results = [case("a", [7.0, 20.0], [(0.9, 1), (0.8, 2)]), case("b", [7.0], [])]
    marks = collect_marks(results, "overlap")
    found = froc_summary(marks, ["p", "q"], seed=0)["by_diameter"]
    assert (found["6-8 mm"]["cpm"], found["6-8 mm"]["cpm_ci95"]) == (0.5, [0.0, 1.0])
    assert found["6-8 mm"]["sensitivity_at_fp_per_scan_ci95"]["8"] == [0.0, 1.0]
    assert (found["over 15 mm"]["cpm"], found["over 15 mm"]["cpm_ci95"]) == (1.0, None)  # one patient has them
    assert froc_summary(marks, ["p", "p"], seed=0)["by_diameter"]["6-8 mm"]["cpm_ci95"] is None


def test_each_class_has_sensitivities_of_its_own():
    first, second = two_scans()
    classes = {"solid": case("a", [7.0], [(0.9, 1)]), "glass": case("a", [20.0], [])}
    results = [replace(each, classes=classes) for each in (first, second)]
    found = summarise(results)["classes"]
    cpm = {name: {size: row["cpm"] for size, row in _by_diameter(own).items()} for name, own in found.items()}
    assert cpm == {"solid": {"6-8 mm": 1.0}, "glass": {"over 15 mm": 0.0}}


def test_table_and_text_give_the_mean_of_each_diameter():
    summary = summarise(two_scans())
    row = froc_by_diameter_rows(summary["detection"])[1]
    assert (row["rule"], row["diameter"], row["lesions"]) == ("overlap", "6-8 mm", 1)
    assert [row[f"sensitivity_at_{rate:g}"] for rate in FP_RATES] == [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert "cpm_low" not in row  # one patient
    text = describe({**summary, "data": "d"})
    assert "CPM by diameter: under 6 mm 1.000 of 1, 6-8 mm 0.714 of 1, 8-15 mm 0.000 of 1" in text


def test_of_many_false_positives_those_beyond_the_largest_rate_change_nothing():
    """Up to 160 of 1,800 in 20 scans, about 360 or 45 at each confidence; the last scan has none of the surest."""
    rng = np.random.default_rng(3)
    stratum = np.where(rng.random(2000) < 0.1, rng.integers(0, STRATA, 2000), -1)
    weights = np.vstack([rng.multinomial(20, np.full(20, 1 / 20), 10), 20.0 * np.eye(20)[-1]])
    for levels in (5, 40):
        confidence = rng.integers(1, levels + 1, 2000) / levels
        owner = rng.integers(0, np.where(confidence > 0.5, 19, 20))
        marks = marks_of(confidence, stratum, owner, 20)
        assert_consistent(marks, weights[:-1])
        assert_consistent(marks, weights)


@given(st.data())
def test_the_mean_over_diameters_weighted_by_their_lesions_is_the_sensitivity_of_the_whole(data):
    """And that of each diameter is the curve of its lesions alone, whatever the ties and weights."""
    cases = data.draw(st.integers(1, 3))
    mark = st.tuples(st.integers(1, 8), st.integers(-1, STRATA - 1), st.integers(0, cases - 1))
    sure, stratum, owner = np.array(data.draw(st.lists(mark, max_size=20)), dtype=np.int64).reshape(-1, 3).T
    weights = data.draw(st.lists(st.lists(st.integers(1, 3), min_size=cases, max_size=cases), min_size=1, max_size=3))
    assert_consistent(marks_of(sure / 8, stratum, owner, cases), np.array(weights, dtype=np.float64))


def marks_of(confidence, stratum, owner, cases):
    """Marks in their order, with one missed lesion of 6-8 mm in each case."""
    order = np.argsort(-confidence, kind="stable")
    lesions = np.zeros((cases, STRATA), dtype=np.int64)
    lesions[:, 1] = 1
    np.add.at(lesions, (owner[stratum >= 0], stratum[stratum >= 0]), 1)
    return Marks(confidence[order], stratum[order], owner[order], lesions)


def assert_consistent(marks, weights):
    found = sensitivity_by_diameter(marks, weights)
    lesions = (weights @ marks.lesions_by_diameter)[..., np.newaxis]
    whole = np.array([froc_curve(marks, row).sensitivity_at() for row in weights])
    assert np.nansum(found * lesions, axis=1) / lesions.sum(axis=1) == pytest.approx(whole, abs=1e-12)
    for index in range(STRATA):
        known = lesions[:, index, 0] > 0
        assert np.isnan(found[~known, index]).all()
        alone = [froc_curve(_only(marks, index), row).sensitivity_at() for row in weights[known]]
        assert found[known, index] == pytest.approx(np.array(alone).reshape(-1, len(FP_RATES)), abs=1e-12)


def _only(marks, index):
    kept = (marks.stratum == index) | (marks.stratum < 0)
    lesions = marks.lesions_by_diameter * (np.arange(STRATA) == index)
    return Marks(marks.confidence[kept], marks.stratum[kept], marks.case[kept], lesions)


def _by_diameter(figures):
    return figures["detection"]["overlap"]["by_diameter"]
