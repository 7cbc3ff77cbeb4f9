import csv
import json

import numpy as np
import pytest

from segpipe.errors import GeometryError, OutputError
from segpipe.evaluation.evaluate import evaluate_pair, summarise, write_evaluation
from segpipe.geometry import Grid

GRID = Grid((30, 24, 10), np.array([[-0.8, 0, 0, 50], [0, 0.8, 0, -20], [0, 0, 2.5, 5], [0, 0, 0, 1.0]]))


def block(x, y, z, size):
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[x : x + size, y : y + size, z : z + size] = 1
    return mask


EMPTY = np.zeros(GRID.shape, dtype=np.uint8)


def pairs():
    """Four cases of three patients: a partial hit, a miss, a false alarm on an empty scan and a quiet empty scan."""
    return [
        evaluate_pair("c1", "p1", block(11, 10, 4, 4), block(10, 10, 4, 4), GRID, extra={"texture": 5}),
        evaluate_pair("c2", "p1", EMPTY, block(3, 3, 3, 3), GRID),
        evaluate_pair("c3", "p2", block(20, 15, 2, 2), EMPTY, GRID),
        evaluate_pair("c4", "p3", EMPTY, EMPTY, GRID),
    ]


def test_a_case_by_pencil():
    case = pairs()[0]  # 48 of 64 voxels shared; a voxel has 1.6 mm³
    assert case.figures["dice"] == pytest.approx(0.75)
    assert case.figures["iou"] == pytest.approx(0.6)
    assert case.figures["volume_error_pct"] == pytest.approx(0.0)
    assert case.reference_mm3 == pytest.approx(64 * 1.6)
    assert (case.true_positives, case.false_positives, case.false_negatives) == (1, 0, 0)


def test_positions_are_those_of_the_whole_scan():
    # Centre of voxels 10…13, 10…13, 4…7 is (11.5, 11.5, 5.5).
    centre = pairs()[0].lesions[0].centre_mm
    assert centre == pytest.approx((50 - 0.8 * 11.5, -20 + 0.8 * 11.5, 5 + 2.5 * 5.5))


def test_array_order_does_not_matter():
    prediction, reference = block(11, 10, 4, 4), block(10, 10, 4, 4)
    fortran = evaluate_pair("c1", "p1", np.asfortranarray(prediction), reference, GRID, extra={"texture": 5})
    assert fortran == pairs()[0]


def test_the_probability_reaches_the_candidates():
    probability = np.where(block(11, 10, 4, 4) > 0, 0.9, 0.2).astype(np.float32)
    case = evaluate_pair("c", "p", block(11, 10, 4, 4), block(10, 10, 4, 4), GRID, probability=probability)
    assert case.candidates[0].probability == pytest.approx(0.9)


@pytest.mark.parametrize("wrong", ["prediction", "reference", "probability"])
def test_another_shape_is_refused_by_name(wrong):
    arrays = {"prediction": EMPTY, "reference": EMPTY, "probability": EMPTY.astype(float), wrong: np.zeros((3, 3, 3))}
    with pytest.raises(GeometryError, match=f"the {wrong} must have the shape of the scan") as caught:
        evaluate_pair("c7", "p", arrays["prediction"], arrays["reference"], GRID, probability=arrays["probability"])
    assert caught.value.facts["case"] == "c7"


def test_the_summary_counts_empty_masks_apart():
    summary = summarise(pairs())
    assert summary["cases"] == 4
    assert summary["patients"] == 3
    assert summary["empty"] == {"both": 1, "only_reference": 1, "only_prediction": 1}
    assert summary["metrics"]["dice"]["n"] == 2
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(0.375)
    assert summary["metrics"]["dice"]["median"] == pytest.approx(0.375)
    assert summary["metrics"]["dice"]["std"] == pytest.approx(0.75 / np.sqrt(2))
    assert summary["metrics"]["dice"]["ci95"] is None  # both defined cases are of one patient
    assert summary["metrics"]["volume_error_pct"]["mean"] == pytest.approx(-50.0)


def test_lesions_are_counted_over_all_cases():
    lesions = summarise(pairs())["lesions"]
    assert (lesions["tp"], lesions["fp"], lesions["fn"]) == (1, 1, 1)
    assert (lesions["precision"], lesions["recall"], lesions["f1"]) == (0.5, 0.5, 0.5)
    assert lesions["fp_per_scan"] == 0.25
    low, high = lesions["ci95"]["precision"]
    assert (low, high) == (0.0, 1.0)


def test_without_any_lesion_ratios_are_undefined_and_json_stays_valid(tmp_path):
    results = [evaluate_pair(f"c{n}", f"p{n}", EMPTY, EMPTY, GRID) for n in range(3)]
    summary = summarise(results)
    assert summary["lesions"]["precision"] is None
    assert summary["metrics"]["dice"] == {"mean": None, "median": None, "std": None, "ci95": None, "n": 0}
    write_evaluation(tmp_path, results, summary)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary


def test_the_same_seed_gives_the_same_summary():
    assert summarise(pairs(), seed=5) == summarise(pairs(), seed=5)


def test_the_files_of_an_evaluation(tmp_path):
    write_evaluation(tmp_path / "evaluation", pairs(), summarise(pairs()))
    folder = tmp_path / "evaluation"
    tables = ["cases.csv", "froc.csv", "froc_by_diameter.csv", "lesions.csv"]
    assert sorted(file.name for file in folder.iterdir()) == [*tables, "summary.json"]
    with (folder / "cases.csv").open(newline="") as stream:
        cases = list(csv.DictReader(stream))
    assert [row["case"] for row in cases] == ["c1", "c2", "c3", "c4"]
    assert [row["dice"] for row in cases] == ["0.75", "0.0", "", ""]
    assert cases[0]["extra_texture"] == "5"
    with (folder / "lesions.csv").open(newline="") as stream:
        lesions = list(csv.DictReader(stream))
    assert [(row["case"], row["kind"], row["matched"]) for row in lesions] == [
        ("c1", "reference", "1"),
        ("c2", "reference", ""),
        ("c3", "prediction", ""),
    ]
    assert float(lesions[0]["overlap"]) == pytest.approx(0.6)


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the evaluation cannot be written"):
        write_evaluation(tmp_path / "file", pairs(), summarise(pairs()))
