"""Components and their measurements against shapes that a pencil can measure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label as scipy_label
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation

from segpipe.geometry import Grid, to_world
from segpipe.lesions import (
    Voxels,
    equivalent_diameter_mm,
    find_components,
    label_lesions,
    measure_components,
    measure_lesion,
    measure_lesions,
    superior_axis,
)

UNIT = Grid((40, 40, 40), np.eye(4))
MASKS = arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 1))


def grid(affine, shape=(40, 40, 40)):
    return Grid(shape, np.asarray(affine, dtype=float))


def voxels(condition, length=40):
    return np.argwhere(condition(*np.indices((length,) * 3)))


def test_diagonal_neighbours_are_one_lesion_and_the_largest_comes_first():
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[0, 0, 0] = 1
    mask[3, 3, 3] = mask[4, 4, 4] = mask[5, 5, 5] = 1
    numbers, count = label_lesions(mask)
    assert count == 2
    assert numbers[4, 4, 4] == 1
    assert numbers[0, 0, 0] == 2
    assert numbers.dtype == np.uint32


def test_a_voxel_is_measured_where_it_lies_on_each_axis():
    numbered = np.zeros((12, 12, 12), np.uint32)
    numbered[1, 5, 9] = 1
    (lesion,) = measure_lesions(numbered, Grid(numbered.shape, np.diag([1.0, 2.0, 3.0, 1.0])))
    assert lesion.centre_mm == (1.0, 10.0, 27.0)
    assert lesion.volume_mm3 == 6.0


@settings(max_examples=40)
@given(MASKS)
def test_components_are_those_of_scipy(mask):
    expected, count = scipy_label(mask, np.ones((3, 3, 3)))
    components = find_components(mask)
    assert components.count == count
    assert list(components.voxel_counts) == sorted(np.bincount(expected.ravel())[1:], reverse=True)
    for number in range(1, count + 1):
        indices = components.indices(number)
        assert len(indices) == components.voxel_counts[number - 1]
        (own,) = {expected[tuple(index)] for index in indices}
        np.testing.assert_array_equal(indices, np.argwhere(expected == own))


@settings(max_examples=40)
@given(MASKS)
def test_the_memory_order_of_a_mask_does_not_matter(mask):
    one, other = find_components(mask), find_components(np.asfortranarray(mask))
    assert sorted(map(str, one.parts)) == sorted(map(str, other.parts))
    assert one.voxel_counts == other.voxel_counts


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 3, 3), (101, 101, 1), (1, 5, 101), (7, 1, 1)])
def test_as_many_components_as_fit_are_distinguished(shape):
    mask = np.zeros(shape, np.uint8)
    mask[::2, ::2, ::2] = 1
    assert find_components(mask).count == mask.sum()


def test_an_empty_mask_has_no_components():
    components = find_components(np.zeros((5, 5, 5), np.uint8))
    assert components.count == 0
    assert measure_components(components, UNIT) == []
    assert label_lesions(np.zeros((5, 5, 5), np.uint8))[1] == 0


def test_only_the_box_around_the_foreground_is_kept():
    mask = np.zeros((50, 60, 70), np.uint8)
    mask[10:12, 20:23, 30] = 1
    components = find_components(mask)
    assert components.numbers.shape == (2, 3, 1)
    assert components.parts == ((slice(10, 12), slice(20, 23), slice(30, 31)),)


def test_a_single_voxel_has_its_own_size():
    anisotropic = grid(np.diag([0.5, 0.5, 2.0, 1.0]))
    lesion = measure_lesion(Voxels.of(np.array([[3, 4, 5]])), anisotropic, number=7)
    assert lesion.number == 7
    assert lesion.volume_mm3 == pytest.approx(0.5)
    assert lesion.longest_diameter_mm == pytest.approx(1.0)  # mean edge (0.5 + 0.5 + 2) / 3
    assert lesion.centre_mm == pytest.approx((1.5, 2.0, 10.0))


def test_a_box_is_measured_from_corner_to_corner():
    box = voxels(lambda x, y, z: (x < 4) & (y < 5) & (z < 13))
    lesion = measure_lesion(Voxels.of(box), UNIT, number=1)
    assert lesion.volume_mm3 == pytest.approx(260)
    assert lesion.longest_diameter_mm == pytest.approx(13 + 1)  # √(3² + 4² + 12²) between centres
    assert lesion.centre_mm == pytest.approx((1.5, 2.0, 6.0))


def test_a_ball_has_its_volume_and_diameter():
    ball = voxels(lambda x, y, z: (x - 20) ** 2 + (y - 20) ** 2 + (z - 20) ** 2 <= 15**2)
    lesion = measure_lesion(Voxels.of(ball), grid(np.diag([0.5, 0.5, 0.5, 1.0])), number=1)
    assert lesion.volume_mm3 == pytest.approx(4 / 3 * np.pi * 7.5**3, rel=0.01)
    assert lesion.longest_diameter_mm == pytest.approx(15.5)  # 30 steps of 0.5 mm plus an edge
    assert equivalent_diameter_mm(lesion.volume_mm3) == pytest.approx(15.0, rel=0.01)


def test_a_flat_lesion_of_many_voxels_has_a_diameter():
    plate = voxels(lambda x, y, z: (z == 3) & (x < 30) & (y < 40))
    assert measure_lesion(Voxels.of(plate), UNIT, number=1).longest_diameter_mm == pytest.approx(np.hypot(29, 39) + 1)


@settings(max_examples=50)
@given(MASKS.filter(lambda mask: mask.any()), st.tuples(*[st.floats(-180, 180)] * 3))
def test_the_longest_distance_is_that_of_all_pairs(mask, angles):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag([0.7, 0.8, 2.5])
    indices = np.argwhere(mask)
    distances = pdist(to_world(affine, indices))
    lesion = measure_lesion(Voxels.of(indices), grid(affine), number=1)
    assert lesion.longest_diameter_mm == pytest.approx(max(distances, default=0.0) + 4.0 / 3)


@settings(max_examples=40)
@given(st.tuples(*[st.floats(-180, 180)] * 3), st.tuples(*[st.floats(-300, 300)] * 3))
def test_measurements_do_not_depend_on_where_the_scan_lies(angles, origin):
    shape = voxels(lambda x, y, z: (x - 9) ** 2 / 4 + (y - 9) ** 2 + (z - 9) ** 2 <= 9, length=20)
    affine = np.diag([0.8, 0.8, 2.0, 1.0])
    turned = affine.copy()
    turned[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ affine[:3, :3]
    turned[:3, 3] = origin
    here, there = (
        measure_lesion(Voxels.of(shape), grid(affine), number=1),
        measure_lesion(Voxels.of(shape), grid(turned), number=1),
    )
    assert there.volume_mm3 == pytest.approx(here.volume_mm3)
    assert there.longest_diameter_mm == pytest.approx(here.longest_diameter_mm)
    assert there.centre_mm == pytest.approx(tuple(to_world(turned, shape.mean(axis=0))))


def test_numbered_arrays_are_measured_in_the_order_of_their_numbers():
    numbers = np.zeros((10, 10, 10), np.uint32)
    numbers[1, 1, 1] = 2
    numbers[5:8, 5, 5] = 1
    first, second = measure_lesions(numbers, UNIT)
    assert (first.number, first.volume_mm3) == (1, pytest.approx(3.0))
    assert (second.number, second.volume_mm3) == (2, pytest.approx(1.0))


def test_the_axial_plane_is_found_in_any_array_order():
    assert superior_axis(grid(np.diag([-0.7, -0.7, 2.5, 1.0]))) == 2
    assert superior_axis(grid([[0, 0, 0.7, 0], [0.7, 0, 0, 0], [0, -2.5, 0.2, 0], [0, 0, 0, 1]])) == 1


@pytest.mark.parametrize("within", [(slice(1, 9), slice(2, 8), slice(0, 7)), (slice(0, 10), slice(0, 9), slice(0, 8))])
def test_components_are_the_same_where_the_part_with_the_foreground_is_known(within):
    mask = np.zeros((10, 9, 8), np.uint8)
    mask[2:4, 3:5, 1:3] = 1
    mask[7, 6, 5:7] = 1
    known, searched = find_components(mask, within=within), find_components(mask)
    assert (known.box, known.parts, known.voxel_counts) == (searched.box, searched.parts, searched.voxel_counts)
    np.testing.assert_array_equal(known.numbers, searched.numbers)
    assert find_components(np.zeros_like(mask), within=within).count == 0
