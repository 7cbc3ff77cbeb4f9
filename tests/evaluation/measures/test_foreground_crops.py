import numpy as np
import pytest

from segpipe.evaluation.measures import foreground_crops as module
from segpipe.evaluation.measures.foreground_crops import find_foreground_crops
from segpipe.geometry import Grid

GRID = Grid((60, 50, 40), np.diag([0.5, 0.5, 2.0, 1.0]))


def lesions(*boxes):
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    for x, y, z, size in boxes:
        mask[x : x + size, y : y + size, z : z + size] = 1
    return mask


def test_far_lesions_lie_in_boxes_of_their_own():
    found = find_foreground_crops(lesions((2, 2, 2, 4)), lesions((3, 2, 2, 4), (50, 40, 30, 5)), GRID)
    assert [crop.box for crop in found] == [
        (slice(2, 7), slice(2, 6), slice(2, 6)),
        (slice(50, 55), slice(40, 45), slice(30, 35)),
    ]


def test_every_voxel_is_in_exactly_one_island(monkeypatch):
    monkeypatch.setattr(module, "WORTH_CUTTING", 1)
    rng = np.random.default_rng(0)
    masks = [np.zeros(GRID.shape, dtype=np.uint8) for _ in range(2)]
    for mask in masks:
        mask[tuple(rng.integers(0, count, size=25) for count in GRID.shape)] = 1
    rebuilt = [np.zeros(GRID.shape, dtype=int) for _ in range(2)]
    for crop in find_foreground_crops(*masks, GRID):
        rebuilt[0][crop.box] += crop.prediction
        rebuilt[1][crop.box] += crop.reference
    assert all((mask == again).all() for mask, again in zip(masks, rebuilt, strict=True))


def test_the_grid_of_an_island_keeps_positions():
    crop = find_foreground_crops(lesions((50, 40, 30, 5)), lesions(), GRID)[0]
    assert crop.grid.affine[:3, 3] == pytest.approx((25.0, 20.0, 60.0))
    assert crop.grid.shape == (5, 5, 5)


def test_two_empty_masks_have_no_island():
    assert find_foreground_crops(lesions(), lesions(), GRID) == []
