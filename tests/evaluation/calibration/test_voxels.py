"""Voxels by their probability: counted, pooled, their error and their temperature by pencil."""

import numpy as np
import pytest

from segpipe.evaluation.calibration.voxels import (
    EDGES,
    count_voxels,
    fit_temperature,
    heat,
    stack_counts,
    voxel_error,
)
from segpipe.evaluation.measures.foreground_crops import find_foreground_crops
from segpipe.evaluation.results import VoxelCounts
from segpipe.geometry import Grid

GRID = Grid((40, 30, 20), np.diag([1.0, 1.0, 2.5, 1.0]))


def counted(*groups):
    """Counts of (probability, voxels, foreground among them)."""
    count, positive, total = np.zeros((3, len(EDGES)))
    for probability, voxels, foreground in groups:
        place = np.searchsorted(EDGES, probability, side="right") - 1
        count[place] += voxels
        positive[place] += foreground
        total[place] += probability * voxels
    return VoxelCounts(tuple(count.astype(int)), tuple(positive.astype(int)), tuple(total))


def error(*counts):
    return voxel_error(stack_counts(counts), np.ones((1, len(counts))))[0]


def test_the_error_by_pencil():
    """100 voxels at 0.85 of which 60 are right, and 300 at 0.12 of which 36 are: (|85 − 60| + |36 − 36|) / 400."""
    assert error(counted((0.85, 100, 60), (0.12, 300, 36))) == pytest.approx(25 / 400)


def test_errors_of_cases_are_those_of_all_their_voxels():
    """Too sure in one case and not sure enough in the other: together they are right."""
    one, other = counted((0.75, 100, 60)), counted((0.75, 100, 90))
    assert error(one) == pytest.approx(0.15)
    assert error(other) == pytest.approx(0.15)
    assert error(one, other) == pytest.approx(0.0)
    weighted = voxel_error(stack_counts([one, other]), np.array([[1.0, 0.0], [3.0, 1.0]]))
    assert weighted.tolist() == pytest.approx([0.15, 0.075])


def test_probabilities_of_one_tenth_are_one_bin():
    """0.81 and 0.89 lie in one bin, in which too sure and not sure enough cancel; 0.79 lies in another one."""
    assert error(counted((0.81, 100, 89), (0.89, 100, 81))) == pytest.approx(0.0)
    assert error(counted((0.79, 100, 89), (0.89, 100, 79))) == pytest.approx(0.1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_temperature_that_was_put_in_is_found(temperature):
    groups = []
    for odds in (-3.0, -1.0, 0.5, 2.0):
        share = 1 / (1 + np.exp(-odds))
        said = 1 / (1 + np.exp(-odds * temperature))
        groups.append((said, 100_000, round(100_000 * share)))
    counts = stack_counts([counted(*groups)])
    assert fit_temperature(counts) == pytest.approx(temperature, rel=0.01)
    assert voxel_error(heat(counts, temperature), np.ones((1, 1)))[0] == pytest.approx(0, abs=1e-3)


def test_voxels_of_one_kind_have_no_temperature():
    assert fit_temperature(stack_counts([counted((0.9, 10, 10))])) is None


def test_voxels_around_the_foreground_count():
    """A box of 4×4×2 voxels, 5 mm larger on each side: 14×14×6 voxels, of which 32 are foreground."""
    reference, probability = np.zeros(GRID.shape, np.uint8), np.full(GRID.shape, 0.05, np.float32)
    reference[10:14, 10:14, 8:10] = 1
    probability[10:14, 10:14, 8:10] = 0.95
    counts = count_voxels(probability, find_foreground_crops(reference * 0, reference, GRID), GRID)
    assert sum(counts.count) == 14 * 14 * 6
    assert sum(counts.positive) == 32
    assert sum(counts.total) == pytest.approx(0.95 * 32 + 0.05 * (14 * 14 * 6 - 32))


def test_the_margin_ends_where_the_scan_does():
    reference = np.zeros(GRID.shape, np.uint8)
    reference[0, 0, 0] = reference[39, 29, 19] = 1
    crops = find_foreground_crops(reference, reference, GRID)
    expected = 2 * 6 * 6 * 3 if len(crops) == 2 else reference.size
    assert sum(count_voxels(np.ones(GRID.shape), crops, GRID).count) == expected


def test_without_foreground_nothing_is_known():
    assert count_voxels(np.ones(GRID.shape), [], GRID) is None
