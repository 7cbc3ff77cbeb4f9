"""A crop goes on beyond its border without its lesion, and is what it was within."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.preprocessing.continuation import ContinuedCrop, remove_lesion

LUNG, TISSUE = -850, 40


class Crop:
    """A lesion of 8×8 voxels through all slices of a lung with noise of 20 HU, and a wall on one side."""

    def __init__(self, shape=(24, 20, 6)):
        self.image = np.random.default_rng(0).normal(LUNG, 20, shape).astype(np.int16)
        self.image[:3] = TISSUE
        self.mask = np.zeros(shape, np.uint8)
        self.mask[8:16, 6:14] = 1
        self.image[self.mask > 0] = TISSUE

    def read_whole(self):
        return self.image, self.mask


def read(start, shape, crop=None):
    return ContinuedCrop(crop or Crop(), np.random.default_rng(1)).read(start, shape)


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(-30, 30)] * 3), st.tuples(*[st.integers(1, 40)] * 3))
def test_within_the_crop_nothing_changes_and_beyond_it_there_is_no_lesion(start, shape):
    crop = Crop()
    image, mask = read(start, shape, crop)
    assert image.shape == mask.shape == shape
    voxels = np.stack(np.meshgrid(*(np.arange(a, a + n) for a, n in zip(start, shape, strict=True)), indexing="ij"))
    inside = np.all([(axis >= 0) & (axis < n) for axis, n in zip(voxels, crop.image.shape, strict=True)], axis=0)
    own = tuple(axis[inside] for axis in voxels)
    np.testing.assert_array_equal(image[inside], crop.image[own])
    np.testing.assert_array_equal(mask[inside], crop.mask[own])
    assert not mask[~inside].any()


def test_the_lesion_ends_within_the_first_slice_beyond_and_the_wall_goes_on():
    image, mask = read((0, 0, -3), (24, 20, 12))
    lesion = Crop().mask[:, :, 0] > 0
    assert not mask[:, :, :3].any()
    assert not mask[:, :, 9:].any()
    for beyond in (0, 1, 10, 11):
        assert image[:, :, beyond][lesion].mean() == pytest.approx(LUNG, abs=50)  # the wall next to it
    for border in (2, 9):
        assert LUNG < image[:, :, border][lesion].mean() < (LUNG + TISSUE) / 2
    assert (image[:3] == TISSUE).all()


def test_lung_takes_the_place_of_the_lesion_with_its_noise():
    crop = Crop()
    crop.image[:3] = crop.image[-3:]
    bare = remove_lesion(crop.image, crop.mask, np.random.default_rng(0))
    inside = bare[crop.mask > 0]
    assert inside.mean() == pytest.approx(LUNG, abs=5)
    assert inside.std() == pytest.approx(20, abs=5)
    unchanged = np.ones(bare.shape, bool)
    unchanged[6:18, 4:16] = False
    assert (bare == crop.image)[unchanged].all()


def test_a_crop_that_is_all_lesion_goes_on_as_lung():
    image, mask = np.full((4, 4, 2), TISSUE, np.int16), np.ones((4, 4, 2), np.uint8)
    image[0, 0, 0] = -1000
    assert (remove_lesion(image, mask, np.random.default_rng(0)) == LUNG).all()


def test_a_crop_without_a_lesion_is_mirrored():
    crop = Crop(shape=(4, 4, 3))
    crop.mask[:] = 0
    crop.image = np.arange(48, dtype=np.int16).reshape(4, 4, 3)
    image, _ = read((0, 0, -4), (4, 4, 4), crop)
    np.testing.assert_array_equal(image[..., :3], crop.image[..., [0, 1, 2]])
    assert ((image[..., 3] >= crop.image[..., 0]) & (image[..., 3] <= crop.image[..., 1])).all()  # next to the crop
