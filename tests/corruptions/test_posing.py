"""Scan and mask move together; what was not scanned is gone from both."""

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.corruptions.planes import Planes, from_case, to_case
from segpipe.corruptions.posing import cover_less, rotate, tilt
from segpipe.geometry import Grid, to_world


class OneWay:
    """Draws the positive direction."""

    def random(self):
        return 0.0


def marked(place, shape=(41, 41, 21), spacing=(1.0, 1.0, 2.0)):
    """A cube of 3³ voxels around a place."""
    image, mask = np.full(shape, -850, np.float32), np.zeros(shape, np.uint8)
    box = tuple(slice(at - 1, at + 2) for at in place)
    image[box], mask[box] = 40, 1
    return Planes(image, spacing, mask)


def centre(values):
    return np.array(np.nonzero(values)).mean(axis=1)


def test_a_quarter_turn_brings_the_side_to_the_front():
    turned = rotate(marked((30, 20, 10)), 90, OneWay())
    assert centre(turned.mask).tolist() == pytest.approx([20, 10, 10])
    assert centre(turned.image_hu > -400).tolist() == pytest.approx([20, 10, 10])
    assert turned.mask.sum() == 27


def test_a_tilt_is_in_millimetres():
    tilted = tilt(marked((20, 30, 10)), 90, OneWay())  # 10 mm to the front become 5 planes of 2 mm
    assert np.abs(centre(tilted.mask) - [20, 20, 5]).max() <= 0.5


def test_small_angles_keep_volume_and_lesion():
    planes = marked((24, 18, 10))
    for move in (rotate, tilt):
        moved = move(planes, 6, OneWay())
        assert 18 <= moved.mask.sum() <= 36
        inside = moved.image_hu[moved.mask > 0].mean()
        assert inside > -300


@pytest.mark.parametrize("percent", [85, 40, 25])
def test_a_part_of_the_slices_is_left_with_a_part_of_the_lesion(percent):
    planes = marked((20, 20, 17))
    for seed in range(20):
        part = cover_less(planes, percent, np.random.default_rng(seed))
        assert part.image_hu.shape[2] == part.mask.shape[2] == round(21 * percent / 100)
        assert part.mask.any()
        kept = planes.image_hu[:, :, part.first : part.first + part.mask.shape[2]]
        np.testing.assert_array_equal(part.image_hu, kept)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_case_comes_back_on_its_own_grid_whichever_way_its_array_lies(order):
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-0.7, 0.8, 2.5])[:, list(order)]
    affine[:3, 3] = 11, -20, 300
    shape = tuple((6, 7, 8)[axis] for axis in order)
    rng = np.random.default_rng(0)
    image, mask = rng.integers(-1000, 400, shape).astype(np.int16), (rng.random(shape) > 0.8).astype(np.uint8)
    case = Case("c", image, Grid(shape, affine), mask)
    planes = from_case(case)
    assert planes.image_hu.shape == (6, 7, 8)
    assert planes.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
    again = to_case(planes, case)
    np.testing.assert_array_equal(again.image, image)
    np.testing.assert_array_equal(again.mask, mask)
    assert again.grid.matches(case.grid)
    half = cover_less(planes, 50, np.random.default_rng(3))
    part = to_case(half, case)
    start = [half.first if axis == 2 else 0 for axis in order]
    np.testing.assert_allclose(to_world(part.grid.affine, [0, 0, 0]), to_world(affine, start))
    box = tuple(slice(at, at + count) for at, count in zip(start, part.image.shape, strict=True))
    np.testing.assert_array_equal(part.image, image[box])


def test_what_was_not_seen_is_air():
    case = Case("c", np.array([[[-3024, -800, 40]]], np.int16), Grid((1, 1, 3), np.eye(4)))
    assert from_case(case).image_hu.ravel().tolist() == [-1024, -800, 40]
