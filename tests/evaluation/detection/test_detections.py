from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from segpipe.evaluation.classes import evaluate_label_maps
from segpipe.evaluation.detection.froc import collect_marks, froc_curve
from segpipe.evaluation.detection.operating_point_search import choose_operating_point
from segpipe.evaluation.evaluate import evaluate_pair, summarise
from segpipe.evaluation.results import Detection
from segpipe.evaluation.text_summary import describe
from segpipe.geometry import Grid
from segpipe.labels import LabelMap

GRID = Grid((24, 20, 16), np.diag([1.0, 1.0, 2.0, 1.0]))
NOTHING = np.zeros(GRID.shape, dtype=np.uint8)


def blocks(*placed):
    """A volume with blocks of 4×4×4 voxels: where they begin, and their value."""
    volume = np.zeros(GRID.shape, dtype=np.float32)
    for x, y, z, value in placed:
        volume[x : x + 4, y : y + 4, z : z + 4] = value
    return volume


def evaluated(probability, reference, prediction=NOTHING, **more):
    return evaluate_pair("a", "p", prediction, reference, GRID, probability=probability, **more)


REFERENCE = (blocks((2, 2, 2, 1), (14, 12, 8, 1)) > 0).astype(np.uint8)
PROBABILITY = blocks((2, 2, 2, 0.9), (14, 11, 8, 0.1), (14, 2, 2, 0.2), (2, 12, 8, 0.02))


def test_candidates_below_the_operating_point_make_the_curve_and_the_mask_does_not():
    """Found at 0.9; a false one at 0.2; the second lesion, shifted by a voxel, at 0.1; a false one at 0.02."""
    for prediction in (NOTHING, PROBABILITY > 0.5, PROBABILITY > 0):
        result = evaluated(PROBABILITY, REFERENCE, prediction.astype(np.uint8))
        assert [one.probability for one in result.detections] == pytest.approx([0.9, 0.2, 0.1, 0.02])
        assert [one.matched for one in result.detections] == [1, None, 2, None]
        for rule in ("overlap", "centre"):
            curve = froc_curve(collect_marks([result], rule))
            assert curve.sensitivity.tolist() == [0.5, 0.5, 1.0, 1.0]
            assert curve.fp_per_scan.tolist() == [0, 1, 1, 2]


def test_mask_lesions_and_figures_are_the_same_whether_or_not_the_scan_was_searched():
    prediction = (PROBABILITY > 0.15).astype(np.uint8)
    searched, answered = (evaluated(PROBABILITY, REFERENCE, prediction, searched=choice) for choice in (True, False))
    assert answered.detections is None
    assert replace(searched, detections=None) == answered
    assert collect_marks([answered], "overlap").confidence == pytest.approx([0.9, 0.2])  # the lesions of the mask


def test_the_operating_point_is_chosen_on_the_lesions_of_the_mask():
    prediction = (PROBABILITY > 0.05).astype(np.uint8)
    several = [evaluated(PROBABILITY, REFERENCE, prediction, searched=choice) for choice in (True, False)]
    points = [choose_operating_point([replace(each, case=f"{n}") for n in range(5)]) for each in several]
    assert points[0] == points[1]
    assert "chosen on 10 lesions" in points[0]["origin"]


def test_a_less_confident_candidate_takes_no_lesion_from_a_more_confident_one():
    """Two candidates in one lesion of 8×4×4 voxels: the less confident one overlaps it better."""
    reference = np.zeros(GRID.shape, dtype=np.uint8)
    reference[2:10, 2:6, 2:6] = 1
    probability = np.zeros(GRID.shape, dtype=np.float32)
    probability[2:4, 2:6, 2:6], probability[5:10, 2:6, 2:6] = 0.9, 0.5
    assert [one.matched for one in evaluated(probability, reference).detections] == [1, None]


def test_a_candidate_that_overlaps_a_lesion_too_little_is_false():
    probability = np.zeros(GRID.shape, dtype=np.float32)
    probability[2:4, 2, 2:5] = 0.5  # 6 of 64 voxels
    result = evaluated(probability, REFERENCE)
    assert result.detections == (Detection(0.5, None, (1,)),)
    probability[2:5, 2, 2:5] = 0.5  # 9 of 64
    assert evaluated(probability, REFERENCE).detections == (Detection(0.5, 1, (1,)),)


def test_spheres_are_matched_by_centre_once_each():
    probability = np.zeros(GRID.shape, dtype=np.float32)
    probability[3, 3, 3], probability[5, 5, 5], probability[15, 13, 9] = 0.9, 0.8, 0.7  # far below an IoU of 0.1
    result = evaluated(probability, REFERENCE, extra={"sphere": True})
    assert [one.matched for one in result.detections] == [1, None, 2]


def test_each_class_and_all_together_have_candidates_and_none_where_the_reference_ignores():
    labels = LabelMap.build({1: "solid", 2: "glass"}, ignore=9)
    reference = REFERENCE.copy()
    reference[12:20, 2:6, 2:6] = 9
    volumes = [blocks((2, 2, 2, 0.6), (14, 2, 2, 0.9)), blocks((2, 2, 2, 0.3), (14, 12, 8, 0.2))]
    result = evaluate_label_maps("a", "p", (NOTHING, reference), GRID, labels=labels, probability=volumes)
    confidences = {name: [one.probability for one in own.detections] for name, own in result.classes.items()}
    assert confidences["solid"] == pytest.approx([0.6])
    assert confidences["glass"] == pytest.approx([0.3, 0.2])
    assert [one.probability for one in result.detections] == pytest.approx([0.9, 0.2])
    sizes = summarise([result])["classes"]["solid"]["detection"]["overlap"]["by_diameter"]
    assert {size: row["lesions"] for size, row in sizes.items()} == {"8-15 mm": 2}  # not the block that is ignored


def test_masks_without_probabilities_have_no_curve_and_the_text_says_why():
    result = evaluate_pair("a", "p", REFERENCE, REFERENCE, GRID)
    summary = summarise([result])
    assert result.detections is None
    assert summary["detection"] is None
    text = describe({**summary, "data": "d"})
    assert "FROC: none, as masks without probabilities give one point and no curve" in text
    empty = summarise([evaluate_pair("a", "p", NOTHING, NOTHING, GRID)])
    assert "FROC" not in describe({**empty, "data": "d"})


def detection_volumes(seed, shape=(24, 24, 22)):
    """Blobs of random height, of which some are in the reference, at other sizes."""
    rng = np.random.default_rng(seed)
    probability, reference = np.zeros(shape), np.zeros(shape, dtype=np.uint8)
    for corner in np.argwhere(np.ones((2, 2, 2))) * 11 + 3:
        if rng.random() < 0.7:
            point = np.zeros(shape)
            point[tuple(corner + rng.integers(0, 4, 3))] = 1
            blob = gaussian_filter(point, 1.2, truncate=2.5)
            blob /= blob.max()
            probability += rng.uniform(0.02, 1) * blob * (blob > 0.17)  # picai_eval takes fainter fringe for candidates
        if rng.random() < 0.6:
            reference[tuple(slice(start, start + int(rng.integers(3, 6))) for start in corner)] = 1
    return probability, reference


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_froc_and_average_precision_of_probabilities_are_those_of_picai_eval():
    package = pytest.importorskip("picai_eval", reason="picai_eval is not installed")
    extract = pytest.importorskip("report_guided_annotation").extract_lesion_candidates
    pairs = [detection_volumes(seed) for seed in range(6)]
    words = {"threshold": "dynamic", "min_voxels_detection": 0, "num_lesions_to_extract": 20}
    theirs = package.evaluate(
        y_det=[extract(probability, **words)[0] for probability, _ in pairs],
        y_true=[reference for _, reference in pairs],
        allow_unmatched_candidates_with_minimal_overlap=False,
        num_parallel_calls=1,
    )
    grid = Grid((24, 24, 22), np.eye(4))
    results = [
        evaluate_pair(f"c{n}", f"p{n}", np.zeros(grid.shape, dtype=np.uint8), reference, grid, probability=probability)
        for n, (probability, reference) in enumerate(pairs)
    ]
    marks = collect_marks(results, "overlap")
    curve = froc_curve(marks)
    assert marks.true.sum() > 10
    assert (~marks.true).sum() > 10
    points = slice(0, len(curve.threshold))  # their last one, of confidence 0, stands for missed lesions
    assert curve.average_precision == pytest.approx(theirs.AP, abs=1e-9)
    sensitivity, fp_per_scan = theirs.lesion_TPR[points], theirs.lesion_FPR[points]
    assert curve.threshold == pytest.approx(theirs.thresholds[points], abs=1e-6)
    assert curve.sensitivity == pytest.approx(sensitivity, abs=1e-6)
    assert curve.fp_per_scan == pytest.approx(fp_per_scan, abs=1e-6)
