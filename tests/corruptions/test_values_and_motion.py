"""Values, motion, metal and contrast, with figures by hand."""

import numpy as np
import pytest

from segpipe.corruptions.motion import motion
from segpipe.corruptions.planes import Planes
from segpipe.corruptions.streaks import METAL_HU, metal
from segpipe.corruptions.tissue import contrast
from segpipe.corruptions.values import clip_values, coarser_values, compress, offset_hu, scale_hu


class Draws:
    """Draws that are known."""

    def __init__(self, *values):
        self.values = list(values)

    def random(self):
        return self.values.pop(0)

    def uniform(self, low, high):
        return low + self.values.pop(0) * (high - low)


def line(*values):
    return Planes(np.array(values, np.float32)[:, None, None], (1.0, 1.0, 1.0))


def found(planes):
    return planes.image_hu.ravel().tolist()


def test_offset_and_scale_go_either_way():
    assert found(offset_hu(line(-1000, 0), 20, Draws(0.1))) == [-980, 20]
    assert found(offset_hu(line(-1000, 0), 20, Draws(0.9))) == [-1020, -20]
    assert found(scale_hu(line(-1000, 0, 100), 10, Draws(0.1))) == pytest.approx([-1000, 100, 210])
    assert found(scale_hu(line(-1000, 0), 10, Draws(0.9))) == pytest.approx([-1000, -100])


def test_steps_and_limits():
    assert found(coarser_values(line(-1000, 7, 9, 25), 16, None)) == [-992, 0, 16, 32]
    assert found(clip_values(line(-1024, -500, 300), 1000, None)) == [-1000, -500, 0]


def test_compression_costs_more_the_smaller_the_file_is():
    rng = np.random.default_rng(0)
    planes = Planes(rng.normal(-600, 60, (64, 64, 2)).astype(np.float32), (0.7, 0.7, 1.0))
    errors = [np.abs(compress(planes, ratio, rng).image_hu - planes.image_hu).mean() for ratio in (1.5, 8, 60)]
    assert errors[0] < 2
    assert errors[0] < errors[1] < errors[2] < 60


def disc(centre=(0, 0), radius=12, shape=(64, 64, 1)):
    x, y = (np.arange(count)[:, None] - count / 2 for count in shape[:2])
    inside = np.hypot(x - centre[0], y.T - centre[1]) < radius
    return Planes(np.where(inside, 50.0, -850.0).astype(np.float32)[:, :, None] * np.ones(shape), (1.0, 1.0, 1.0))


def test_a_patient_who_lies_still_is_not_changed():
    np.testing.assert_allclose(motion(disc(), 0, np.random.default_rng(0)).image_hu, disc().image_hu, atol=1e-2)


def test_the_middle_of_the_way_is_where_a_moving_patient_seems_to_be_and_contours_double():
    moved = motion(disc(), 6, Draws(0.0, 0.5)).image_hu[:, :, 0]  # along x, which the gantry sees in the middle
    weight = moved + 850
    x = np.arange(64) - 32
    assert (weight.sum(axis=1) @ x) / weight.sum() == pytest.approx(0, abs=0.05)
    assert weight.sum() == pytest.approx((disc().image_hu + 850).sum(), rel=1e-3)
    assert np.abs(moved - disc().image_hu[:, :, 0]).max() > 200


def test_metal_is_white_and_what_lies_between_two_rods_is_dark():
    planes = Planes(np.full((120, 60, 2), 40, np.float32), (2.0, 4.0, 1.0))
    changed = metal(planes, 4.0, _rods(first=(90, 30), apart=0.5)).image_hu[:, :, 0]
    # one rod at (90 − 59.5) · 2 = 61 mm, the other 45 mm nearer to the middle
    white_mm = np.sort((np.argwhere(changed == METAL_HU)[:, 0] - 59.5) * 2)
    assert white_mm[[0, -1]].tolist() == pytest.approx([12, 65], abs=2)
    assert not ((white_mm > 21) & (white_mm < 56)).any()
    between, beside = changed[74:84, 29:31].mean(), changed[20:40, 5:10].mean()
    assert between < beside - 30
    assert abs(beside - 40) < 30


def _rods(first, apart):
    """Draws this voxel of all dense ones, and how far apart the rods are."""

    class Rods:
        def uniform(self, low, high):
            return low + apart * (high - low)

        def integers(self, count):
            return first[0] * 60 + first[1]

    return Rods()


def test_larger_rods_do_more_harm_and_a_crop_has_them_outside():
    crop = Planes(np.full((50, 50, 1), -850, np.float32), (0.7, 0.7, 1.0))
    harms = [np.abs(metal(crop, radius, np.random.default_rng(0)).image_hu + 850) for radius in (1.0, 4.0)]
    assert harms[1].mean() > 3 * harms[0].mean() > 0
    assert harms[1].max() < METAL_HU


def test_contrast_brightens_the_heart_and_a_lesion_a_little_but_no_chest_wall():
    body = np.full((140, 100, 3), -1000, np.float32)
    body[10:130, 10:90] = 40
    body[25:115, 25:75] = -850
    body[60:80, 40:60] = 40  # heart
    body[30:40, 30:40] = 40
    mask = np.zeros(body.shape, np.uint8)
    mask[30:40, 30:40] = 1
    image = contrast(Planes(body, (2.5, 2.5, 2.5), mask), 100, None).image_hu[:, :, 1]
    assert image[70, 50] == pytest.approx(140)
    assert image[35, 35] == pytest.approx(55)
    assert image[15, 50] == 40
    assert image[50, 50] == pytest.approx(-850)
    assert image[2, 2] == -1000


def test_in_a_crop_all_soft_tissue_is_blood():
    crop = np.full((20, 20, 20), -850, np.float32)
    crop[5:15, 5:15, 5:15] = 40
    assert contrast(Planes(crop, (0.7, 0.7, 1.0)), 100, None).image_hu[10, 10, 10] == pytest.approx(140)
