"""Voxels and millimetres, RAS and LPS, directions and grids."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from segpipe.errors import GeometryError
from segpipe.geometry import Grid, axis_directions, describe_apart, flip_ras_lps, to_voxel, to_world

ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SPACINGS = st.tuples(*[st.floats(0.2, 6.0)] * 3)
ORIGINS = st.tuples(*[st.floats(-600, 600)] * 3)
INDICES = st.lists(st.tuples(*[st.floats(-50, 700)] * 3), min_size=1, max_size=6)


def affine_of(angles, spacing, origin, mirrored=False):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 0] *= -1 if mirrored else 1
    affine[:3, 3] = origin
    return affine


@given(ANGLES, SPACINGS, ORIGINS, st.booleans(), INDICES)
def test_voxel_to_world_to_voxel(angles, spacing, origin, mirrored, indices):
    affine = affine_of(angles, spacing, origin, mirrored)
    assert_allclose(to_voxel(affine, to_world(affine, indices)), indices, atol=1e-6)


@given(ANGLES, SPACINGS, ORIGINS, INDICES)
def test_world_agrees_with_homogeneous_coordinates(angles, spacing, origin, indices):
    affine = affine_of(angles, spacing, origin)
    by_hand = [(affine @ [*index, 1.0])[:3] for index in indices]
    assert_allclose(to_world(affine, indices), by_hand, atol=1e-9)


def test_one_point_and_many_points_have_their_own_shapes():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    assert to_world(affine, [1, 1, 1]).shape == (3,)
    assert to_world(affine, np.zeros((5, 3))).shape == (5, 3)
    assert_allclose(to_voxel(affine, [2.0, 3.0, 8.0]), [1, 1, 2])
    assert_allclose(to_voxel(affine, np.zeros((5, 3))), np.zeros((5, 3)))


@given(ANGLES, SPACINGS, ORIGINS, INDICES)
def test_flipping_twice_changes_nothing_and_commutes_with_the_affine(angles, spacing, origin, indices):
    affine = affine_of(angles, spacing, origin)
    assert_array_equal(flip_ras_lps(flip_ras_lps(affine)), affine)
    in_lps = to_world(flip_ras_lps(affine), indices)
    assert_allclose(in_lps, flip_ras_lps(to_world(affine, indices)), atol=1e-9)


def test_left_and_back_become_positive_in_lps():
    assert_array_equal(flip_ras_lps([[10.0, 20.0, 30.0], [-1.0, -2.0, -3.0]]), [[-10, -20, 30], [1, 2, -3]])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product([1, -1], repeat=3)))
def test_orientation_of_every_axis_order_and_direction(order, signs):
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    letters = ""
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        affine[world, axis] = 0.8 * sign
        letters += ("LR", "PA", "IS")[world][sign > 0]
    grid = Grid((4, 5, 6), affine)
    assert grid.orientation == letters
    assert axis_directions(affine) == list(zip(order, signs, strict=True))
    assert_allclose(grid.spacing_mm, 0.8)


@given(st.tuples(*[st.floats(-25, 25)] * 3), SPACINGS)
def test_a_tilted_scan_keeps_its_nearest_directions(angles, spacing):
    assert Grid((4, 4, 4), affine_of(angles, spacing, (0, 0, 0))).orientation == "RAS"


def test_two_axes_never_claim_one_direction():
    affine = np.eye(4)
    affine[:3, 0] = [0.8, 0.6, 0.0]
    affine[:3, 1] = [0.72, 0.69, 0.0]
    assert sorted(world for world, _ in axis_directions(affine)) == [0, 1, 2]


@given(ANGLES, SPACINGS, ORIGINS)
def test_spacing_and_voxel_volume(angles, spacing, origin):
    grid = Grid((3, 4, 5), affine_of(angles, spacing, origin))
    assert_allclose(grid.spacing_mm, spacing, rtol=1e-9)
    assert grid.voxel_volume_mm3 == pytest.approx(np.prod(spacing))


def test_a_sheared_voxel_has_the_volume_of_its_parallelepiped():
    affine = np.eye(4)
    affine[:3, 2] = [0.0, 1.5, 2.0]  # gantry tilt: base 1 × 1, height 2
    grid = Grid((3, 3, 3), affine)
    assert grid.voxel_volume_mm3 == pytest.approx(2.0)
    assert grid.spacing_mm == pytest.approx((1.0, 1.0, 2.5))


def test_grids_match_within_a_hundredth_of_a_millimetre():
    one = Grid((100, 100, 50), np.diag([0.7, 0.7, 2.5, 1.0]))
    shifted, stretched = one.affine.copy(), one.affine.copy()
    shifted[0, 3] = 0.009
    stretched[0, 0] = 0.7002  # 99 × 0.0002 = 0.0198 mm at the far corner
    assert one.matches(Grid(one.shape, shifted))
    assert not one.matches(Grid(one.shape, stretched))
    assert one.matches(Grid(one.shape, stretched), tolerance_mm=0.02)
    assert not one.matches(Grid((100, 100, 49), one.affine))


def test_a_grid_cannot_be_changed_and_does_not_share_its_affine():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 99.0
    assert grid.affine[0, 3] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 3] = 1.0


def test_grids_are_described_with_as_much_as_it_takes_to_see_how_they_differ():
    one = Grid((4, 4, 4), np.diag([1.0, 1.0, 2.0, 1.0]))
    longer = Grid((5, 4, 4), one.affine)
    shown = describe_apart(image=one, mask=longer)
    assert shown == {"image": "4×4×4, 1.00×1.00×2.00 mm, RAS", "mask": "5×4×4, 1.00×1.00×2.00 mm, RAS"}
    turned = one.affine.copy()
    turned[:2, :2] = [[0.999, -0.04], [0.04, 0.999]]
    shown = describe_apart(image=one, mask=Grid(one.shape, turned))
    assert shown["image"] == "4×4×4, 1.00×1.00×2.00 mm, RAS, from (0.00, 0.00, 0.00) mm, to (3.00, 3.00, 6.00) mm"


def test_a_grid_reports_its_shape_spacing_and_orientation():
    assert str(Grid((512, 512, 130), np.diag([-0.977, -0.977, 2.5, 1.0]))) == "512×512×130, 0.98×0.98×2.50 mm, LPS"


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((4, 4), np.eye(4), "a scan must be 3-D"),
        ((4, 4, 0), np.eye(4), "a scan must be 3-D"),
        ((4, 4, 4), np.eye(3), "4×4 and finite"),
        ((4, 4, 4), np.full((4, 4), np.nan), "4×4 and finite"),
        ((4, 4, 4), np.diag([1.0, 1.0, 0.0, 1.0]), "it is singular"),
        ((4, 4, 4), np.array([[1.0, 2, 0, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "it is singular"),
    ],
)
def test_impossible_grids_are_refused(shape, affine, message):
    with pytest.raises(GeometryError, match=message):
        Grid(shape, affine)
