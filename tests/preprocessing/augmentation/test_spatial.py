"""Motions against numpy, scipy and MONAI, image and mask together."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai import transforms as mt
from scipy.ndimage import map_coordinates

from segpipe.preprocessing.augmentation.spatial import SpatialTransform, read_box, read_patch
from segpipe.preprocessing.augmentation.spatial_transform import rotation
from tests.samples.prepared_cases import make_recipe, make_scan, prepare


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    image, mask = make_scan((40, 36, 24), [((14, 12, 8), 7), ((30, 25, 18), 2)])
    image[20:28, 8:20, 5:15] = -600
    return prepare(tmp_path_factory.mktemp("augment"), [(image, mask)], make_recipe())[0]


def random_matrix(seed):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-180, 180), rng.uniform(-40, 40), rng.uniform(-40, 40)
    matrix = rotation(2, angles[0]) @ rotation(1, angles[1]) @ rotation(0, angles[2])
    return matrix * rng.uniform(0.6, 1.5) + rng.uniform(-0.1, 0.1, (3, 3))


def by_scipy(case, start, patch, matrix, displacement=0.0):
    """The slow and plain way: the whole volume, every voxel's place, trilinear interpolation in double precision."""
    image, mask = case.read((0, 0, 0), case.grid.shape)
    offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in patch], indexing="ij"))
    centre = np.array(start) + (np.array(patch) - 1) / 2
    where = np.einsum("ij,jxyz->ixyz", matrix, offsets) + centre.reshape(3, 1, 1, 1) + displacement
    return [map_coordinates(v.astype(float), where, order=1, mode="nearest") for v in (image, mask)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    planar=st.booleans(),
    patch=st.tuples(*[st.integers(1, 30)] * 3),
    start=st.tuples(*[st.integers(-10, 30)] * 3),
)
def test_a_motion_moves_voxels_where_scipy_moves_them(case, seed, planar, patch, start):
    matrix = random_matrix(seed)
    if planar:
        matrix[:2, 2] = matrix[2, :2] = 0.0
    image, mask = read_patch(case, start, patch, SpatialTransform(matrix=matrix))
    wanted, share = by_scipy(case, start, patch, matrix)
    np.testing.assert_allclose(image, wanted, atol=0.5)
    decided = np.abs(share - 0.5) > 1e-3
    np.testing.assert_array_equal(mask.numpy()[decided], (share >= 0.5)[decided])


@pytest.mark.parametrize("seed", range(4))
def test_a_motion_equals_monai(case, seed):
    matrix, patch, start = random_matrix(seed), (20, 18, 12), (8, 9, 6)
    volume = torch.from_numpy(case.read((0, 0, 0), case.grid.shape)[0]).float()[None]
    centre = np.array(start) + (np.array(patch) - 1) / 2
    shift = np.eye(4)
    shift[:3, 3] = centre - (np.array(case.grid.shape) - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = matrix
    grid, _ = mt.AffineGrid(affine=torch.from_numpy(shift @ affine))(spatial_size=patch)
    wanted = mt.Resample(mode="bilinear", padding_mode="border")(volume, grid=grid)[0]
    image, _ = read_patch(case, start, patch, SpatialTransform(matrix=matrix))
    np.testing.assert_allclose(image, wanted, atol=0.5)


def test_a_displacement_moves_voxels_where_scipy_moves_them(case):
    patch, start = (20, 18, 12), (8, 9, 6)
    displacement = np.random.default_rng(0).normal(0, 2, (3, 2, 2, 2)).astype(np.float32)
    ends = np.stack(np.meshgrid(*[np.linspace(0, 1, n) for n in patch], indexing="ij"))
    field = np.stack([map_coordinates(axis.astype(float), ends, order=1) for axis in displacement])
    image, mask = read_patch(case, start, patch, SpatialTransform(matrix=rotation(0, 20.0), displacement=displacement))
    wanted, share = by_scipy(case, start, patch, rotation(0, 20.0), field)
    np.testing.assert_allclose(image, wanted, atol=0.5)
    np.testing.assert_array_equal(mask, share >= 0.5)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_turns_and_flips_are_numpys(case, turns, flips):
    patch, start = (12, 16, 6), (8, 9, 6)
    motion = SpatialTransform(flips=flips, rot90=turns)
    image, mask = read_patch(case, start, patch, motion)
    source = case.read(start, motion.source_shape(patch))
    for ours, array in zip((image, mask), source, strict=True):
        np.testing.assert_array_equal(ours, np.flip(np.rot90(array, turns), flips))
        assert ours.shape == patch


def test_turns_and_flips_come_after_the_resampling(case):
    patch, start, matrix = (12, 16, 6), (8, 9, 6), rotation(2, 33.0)
    motion = SpatialTransform(flips=(1,), rot90=1, matrix=matrix)
    still, _ = read_patch(case, start, motion.source_shape(patch), SpatialTransform(matrix=matrix))
    moved, _ = read_patch(case, start, patch, motion)
    np.testing.assert_array_equal(moved, np.flip(np.rot90(still), 1))


def test_a_rotation_by_90_degrees_is_a_quarter_turn(case):
    # the matrix leads from the patch to the scan, so the patch's content turns the other way
    image, _ = read_patch(case, (8, 8, 6), (12, 12, 6), SpatialTransform(matrix=rotation(2, 90.0)))
    turned, _ = read_patch(case, (8, 8, 6), (12, 12, 6), SpatialTransform(rot90=3))
    np.testing.assert_allclose(image, turned, atol=0.05)


def test_a_box_in_memory_is_the_one_of_the_cache(case):
    image, mask = case.read((0, 0, 0), case.grid.shape)
    for start, shape in [((-3, 5, 20), (10, 40, 9)), ((60, 0, -30), (4, 36, 5)), ((2, 3, 4), (5, 6, 7))]:
        wanted = case.read(start, shape)
        np.testing.assert_array_equal(read_box(torch.from_numpy(image), start, shape), wanted[0])
        np.testing.assert_array_equal(read_box(torch.from_numpy(mask), start, shape), wanted[1])


def test_label_maps_move_class_by_class():
    """Turned by 90°, also through the resampling, every class keeps its voxels; between two classes no gap opens."""
    mask = np.zeros((12, 12, 6), np.uint8)
    mask[3:6, 3:9, 2:5], mask[6:9, 3:9, 2:5] = 1, 200
    source = SimpleNamespace(read=lambda start, shape: (mask.astype(np.int16), mask))
    _, exact = read_patch(source, (0, 0, 0), (12, 12, 6), SpatialTransform(rot90=3))
    box = SimpleNamespace(read=lambda start, shape: both(mask, start, shape))
    _, moved = read_patch(box, (0, 0, 0), (12, 12, 6), SpatialTransform(matrix=rotation(2, 90.0)))
    np.testing.assert_array_equal(moved, exact)
    _, tilted = read_patch(box, (0, 0, 0), (12, 12, 6), SpatialTransform(matrix=rotation(2, 30.0)))
    together = SimpleNamespace(read=lambda start, shape: both((mask > 0).astype(np.uint8), start, shape))
    _, union = read_patch(together, (0, 0, 0), (12, 12, 6), SpatialTransform(matrix=rotation(2, 30.0)))
    np.testing.assert_array_equal(tilted > 0, union > 0)
    assert set(tilted.unique().tolist()) == {0, 1, 200}


def both(mask, start, shape):
    box = read_box(torch.from_numpy(mask), start, shape).numpy()
    return box.astype(np.int16), box
