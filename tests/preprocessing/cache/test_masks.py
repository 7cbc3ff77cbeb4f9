"""Masks on the recipe's grid: equal to resampling all of them, on any grid, and no lesion lost."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.labels import LabelMap
from segpipe.lesions import label_lesions
from segpipe.preprocessing.cache.masks import resample_labels, resample_mask
from segpipe.preprocessing.resampling import plan_preparation, resample_to_recipe
from tests.samples.prepared_cases import make_recipe


@st.composite
def preparations(draw):
    """A scan's grid with any order and direction of axes, and a recipe that is finer or up to six times as coarse."""
    shape = tuple(draw(st.integers(3, 16)) for _ in range(3))
    spacing = [draw(st.sampled_from([0.5, 0.7, 1.0, 2.5, 5.0])) for _ in range(3)]
    affine = np.zeros((4, 4))
    for axis, world in enumerate(draw(st.permutations(range(3)))):
        affine[world, axis] = spacing[axis] * draw(st.sampled_from([-1, 1]))
    affine[3, 3] = 1.0
    target = tuple(draw(st.sampled_from([0.6, 1.0, 1.25, 3.0])) for _ in range(3))
    return plan_preparation(Grid(shape, affine), make_recipe(spacing_mm=target))


@st.composite
def masks(draw, shape):
    """A few boxes, often at the border."""
    mask = np.zeros(shape, dtype=np.uint8)
    for _ in range(draw(st.integers(0, 4))):
        first = [draw(st.integers(0, n - 1)) for n in shape]
        size = [draw(st.integers(1, 5)) for _ in shape]
        mask[tuple(slice(low, low + n) for low, n in zip(first, size, strict=True))] = 1
    return mask


@settings(max_examples=60)
@given(data=st.data())
def test_equals_resampling_the_whole_mask_plus_what_would_vanish(data):
    preparation = data.draw(preparations())
    mask = data.draw(masks(preparation.scan.shape))
    ours = resample_mask(mask, preparation)
    share = resample_to_recipe(mask, preparation).numpy()
    decided = np.abs(share - 0.5) > 1e-4
    plain = share >= 0.5
    assert not (plain & decided & (ours == 0)).any()
    extra = (ours == 1) & ~plain & decided
    assert not extra.any() or any(_vanishes(mask, number, preparation) for number in _numbers(mask))


@settings(max_examples=60)
@given(data=st.data())
def test_every_lesion_leaves_a_voxel_near_itself(data):
    preparation = data.draw(preparations())
    mask = data.draw(masks(preparation.scan.shape))
    kept = np.argwhere(resample_mask(mask, preparation))
    components, count = label_lesions(mask)
    for number in range(1, count + 1):
        world = to_world(preparation.scan.affine, np.argwhere(components == number))
        own = to_voxel(preparation.grid.affine, world)
        # a recipe voxel belongs to a lesion when it is within a scan or a recipe voxel of it
        reach = np.maximum(1.0, 1.0 / np.array(preparation.ratios)) + 1e-6
        near = (np.abs(kept[:, None] - own[None]) <= reach).all(axis=2)
        assert near.any()


def _numbers(mask):
    return range(1, label_lesions(mask)[1] + 1)


def _vanishes(mask, number, preparation):
    components, _ = label_lesions(mask)
    return resample_to_recipe((components == number).astype(np.uint8), preparation).max() < 0.5 + 1e-4


PARTS = {1: "rim", 2: "core"}
EXCLUSIVE = LabelMap.build(PARTS)
NESTED = LabelMap.build(PARTS, regions={"whole": [1, 2], "core": [2]})


@settings(max_examples=40)
@given(data=st.data())
def test_a_class_alone_is_resampled_as_ever(data):
    preparation = data.draw(preparations())
    mask = data.draw(masks(preparation.scan.shape))
    expected = resample_mask(mask, preparation)
    np.testing.assert_array_equal(resample_labels(mask, preparation, LabelMap()), expected)
    np.testing.assert_array_equal(resample_labels(mask, preparation, EXCLUSIVE), expected)
    np.testing.assert_array_equal(resample_labels(2 * mask, preparation, EXCLUSIVE), 2 * expected)
    np.testing.assert_array_equal(resample_labels(mask, preparation, NESTED), expected)
    np.testing.assert_array_equal(resample_labels(2 * mask, preparation, NESTED), 2 * expected)


@settings(max_examples=40)
@given(data=st.data())
def test_classes_together_are_where_half_of_a_voxel_is_foreground(data):
    preparation = data.draw(preparations())
    mask = data.draw(masks(preparation.scan.shape))
    second = data.draw(masks(preparation.scan.shape))
    mask[second > 0] = 2
    share = resample_to_recipe((mask > 0).astype(np.uint8), preparation).numpy()
    core = resample_to_recipe((mask == 2).astype(np.uint8), preparation).numpy()
    assert (resample_labels(mask, preparation, EXCLUSIVE) > 0)[share > 0.5 + 1e-4].all()
    nested = resample_labels(mask, preparation, NESTED)
    assert (nested > 0)[share > 0.5 + 1e-4].all()
    assert (nested == 2)[core > 0.5 + 1e-4].all()


def test_a_small_core_survives_a_coarse_grid():
    preparation = plan_preparation(
        Grid((24, 24, 24), np.diag([0.5, 0.5, 0.5, 1.0])), make_recipe(spacing_mm=(3.0,) * 3)
    )
    mask = np.zeros((24, 24, 24), np.uint8)
    mask[4:20, 4:20, 4:20] = 1
    mask[10, 11, 12] = 2
    for labels in (EXCLUSIVE, NESTED):
        assert (resample_labels(mask, preparation, labels) == 2).sum() == 1


def test_a_vanishing_lesion_takes_no_voxel_from_the_core_of_another():
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    preparation = plan_preparation(Grid((3, 3, 3), affine), make_recipe(spacing_mm=(3.0, 0.6, 0.6)))
    for whole, core in ((0, 2), (2, 0)):  # the coarse voxel lies on the first or on the last fine one
        mask = np.zeros((3, 3, 3), np.uint8)
        mask[whole, 0, 0], mask[core, 0, 0] = 1, 2
        assert resample_labels(mask, preparation, NESTED)[0, 0, 0] == 2
