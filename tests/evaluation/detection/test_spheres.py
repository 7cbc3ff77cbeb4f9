"""A sphere around a nodule is found or missed; no figure says how alike it is to a prediction."""

import numpy as np
import pytest

from segpipe.evaluation.detection.spheres import outlined
from segpipe.evaluation.evaluate import evaluate_pair, summarise
from segpipe.evaluation.tables import lesion_rows
from segpipe.geometry import Grid

GRID = Grid((40, 40, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
SPHERE = {"sphere": True}


def block(*boxes):
    mask = np.zeros(GRID.shape, np.uint8)
    for x, y, z, size in boxes:
        mask[x : x + size, y : y + size, z : z + size] = 1
    return mask


def evaluate_sphere(prediction, reference, *, extra=SPHERE, probability=None):
    return evaluate_pair("c", "p", prediction, reference, GRID, extra=extra, probability=probability)


def test_a_small_candidate_inside_finds_the_lesion_though_its_overlap_is_tiny():
    # One voxel of 512: an IoU of 0.002 would be a miss by overlap.
    prediction, reference = block((13, 13, 8, 1)), block((10, 10, 5, 8))
    result = evaluate_sphere(prediction, reference)
    assert (result.true_positives, result.false_positives, result.false_negatives) == (1, 0, 0)
    assert result.lesions[0].overlap is None
    assert evaluate_sphere(prediction, reference, extra=None).false_negatives == 1


def test_no_figure_of_voxels_or_surfaces_is_defined():
    mask = block((10, 10, 5, 4))
    summary = summarise([evaluate_sphere(mask, mask)])
    assert {row["n"] for row in summary["metrics"].values()} == {0}
    assert summary["lesions"]["recall"] == 1.0
    assert summary["lesions"]["segmentation_quality"] is None
    assert summary["lesions"]["panoptic_quality"] is None
    (stratum,) = summary["strata"]["diameter"].values()
    assert (stratum["sensitivity"], stratum["dice"], stratum["dice_ci95"]) == (1.0, None, None)


def test_the_most_confident_candidate_stands_for_a_lesion_and_a_far_one_is_false():
    prediction = block((11, 11, 6, 2), (14, 14, 8, 3), (30, 30, 15, 2))
    probability = np.where(block((11, 11, 6, 2)) > 0, 0.9, 0.4).astype(np.float32)
    result = evaluate_sphere(prediction, block((10, 10, 5, 8)), probability=probability)
    by_volume = {candidate.number: candidate for candidate in result.candidates}
    assert result.lesions[0].probability == pytest.approx(0.9)
    assert by_volume[result.lesions[0].matched].volume_mm3 == pytest.approx(16.0)
    assert (result.true_positives, result.false_positives) == (1, 2)


def test_a_candidate_next_to_the_sphere_misses_it():
    result = evaluate_sphere(block((22, 10, 5, 4)), block((10, 10, 5, 4)))
    assert (result.true_positives, result.false_positives, result.false_negatives) == (0, 1, 1)
    assert lesion_rows([result])[0]["overlap"] is None


def test_outlines_among_spheres_keep_their_dice():
    mask = block((10, 10, 5, 4))
    results = [evaluate_sphere(mask, mask), evaluate_sphere(mask, mask, extra=None)]
    assert summarise(results)["metrics"]["dice"]["n"] == 1
    assert outlined(results) == results[1:]
