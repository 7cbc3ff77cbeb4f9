"""Diameters and volume of ellipsoids that are known in closed form, on anisotropic and oblique grids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segpipe.geometry import Grid, to_world
from segpipe.inference.measurements.axial import measure_axial
from segpipe.lesions import Voxels, equivalent_diameter_mm, measure_lesion

HALF = st.floats(2.5, 9.0)
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
TILTS = st.tuples(*[st.floats(-20, 20)] * 3)
SPACING = st.tuples(*[st.floats(0.5, 0.9)] * 2, st.floats(0.6, 2.5))


def rotation(angles):
    return Rotation.from_euler("xyz", angles, degrees=True).as_matrix()


def ellipsoid(half_mm, turn, spacing_mm, tilt, offset=(0.0, 0.0, 0.0)):
    """The voxels with their centres in an ellipsoid in the middle of a grid, its matrix (x' M x ≤ 1), and the grid."""
    affine = np.eye(4)
    affine[:3, :3] = rotation(tilt) @ np.diag(spacing_mm)
    shape = tuple(int(2 * np.ceil(10 / edge)) + 3 for edge in spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2 + offset)
    matrix = rotation(turn) @ np.diag(np.array(half_mm) ** -2.0) @ rotation(turn).T
    points = to_world(affine, np.indices(shape).reshape(3, -1).T)
    inside = np.einsum("ni,ij,nj->n", points, matrix, points).reshape(shape) <= 1
    return Voxels.of(np.argwhere(inside)), matrix, Grid(shape, affine)


def central_axial_diameters(matrix, grid):
    """Both diameters of the ellipse that the ellipsoid has in common with the axial plane through its centre."""
    plane = grid.affine[:3, :2] / np.array(grid.spacing_mm[:2])
    smallest, largest = np.linalg.eigvalsh(plane.T @ matrix @ plane)
    return 2 / np.sqrt(smallest), 2 / np.sqrt(largest)


def height_mm(matrix, grid):
    """Half the extent of the ellipsoid at a right angle to the axial slices."""
    normal = grid.affine[:3, 2] / grid.spacing_mm[2]
    return float(np.sqrt(normal @ np.linalg.inv(matrix) @ normal))


@settings(max_examples=60, deadline=None)
@given(st.tuples(HALF, HALF, HALF), ANGLES, SPACING, TILTS, st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_diameters_are_within_a_pixel_and_the_longest_in_space_within_a_voxel(half, turn, spacing, tilt, offset):
    voxels, matrix, grid = ellipsoid(half, turn, spacing, tilt, offset)
    pixel, voxel = np.hypot(*spacing[:2]), np.linalg.norm(spacing)
    longest, perpendicular = central_axial_diameters(matrix, grid)
    # the slice next to the centre can lie half a spacing from it, where the ellipse is smaller
    missed = 1 - np.sqrt(max(0.0, 1 - (spacing[2] / 2 / height_mm(matrix, grid)) ** 2))
    axial = measure_axial(voxels, grid)
    assert -pixel - missed * longest <= axial.longest_mm - longest <= pixel
    assert -pixel - missed * perpendicular <= axial.perpendicular_mm - perpendicular <= pixel
    assert axial.mean_mm == pytest.approx((axial.longest_mm + axial.perpendicular_mm) / 2)
    assert measure_lesion(voxels, grid, number=1).longest_diameter_mm == pytest.approx(2 * max(half), abs=voxel)


@settings(max_examples=60, deadline=None)
@given(st.tuples(HALF, HALF, HALF), ANGLES, SPACING, TILTS, st.tuples(*[st.floats(-0.5, 0.5)] * 3))
def test_the_equivalent_diameter_is_within_half_a_voxel(half, turn, spacing, tilt, offset):
    voxels, _, grid = ellipsoid(half, turn, spacing, tilt, offset)
    found = equivalent_diameter_mm(measure_lesion(voxels, grid, number=1).volume_mm3)
    assert found == pytest.approx(2 * np.cbrt(np.prod(half)), abs=np.linalg.norm(spacing) / 2)


@settings(max_examples=20, deadline=None)
@given(st.tuples(HALF, HALF, HALF), ANGLES, SPACING)
def test_a_quarter_turn_within_the_slice_and_a_shift_change_nothing(half, turn, spacing):
    spacing = (spacing[0], spacing[0], spacing[2])
    voxels, _, grid = ellipsoid(half, turn, spacing, (0, 0, 0))
    turned = Voxels(np.rot90(voxels.inside), (7, 3, 5))
    moved = Grid(grid.shape, grid.affine + np.array([[0, 0, 0, 5], [0, 0, 0, -7], [0, 0, 0, 11], [0, 0, 0, 0]]))
    here, there = measure_axial(voxels, grid), measure_axial(turned, moved)
    assert (there.longest_mm, there.perpendicular_mm) == pytest.approx((here.longest_mm, here.perpendicular_mm))
    one, other = measure_lesion(voxels, grid, number=1), measure_lesion(turned, moved, number=1)
    assert other.longest_diameter_mm == pytest.approx(one.longest_diameter_mm)
    assert other.volume_mm3 == pytest.approx(one.volume_mm3)


@settings(max_examples=20, deadline=None)
@given(st.tuples(HALF, HALF, HALF), ANGLES, SPACING, st.floats(0.5, 3.0))
def test_a_scan_of_larger_voxels_has_diameters_as_many_times_larger(half, turn, spacing, factor):
    voxels, _, grid = ellipsoid(half, turn, spacing, (0, 0, 0))
    larger = Grid(grid.shape, grid.affine * np.array([factor, factor, factor, 1.0]))
    here, there = measure_axial(voxels, grid), measure_axial(voxels, larger)
    assert there.longest_mm == pytest.approx(factor * here.longest_mm)
    assert there.perpendicular_mm == pytest.approx(factor * here.perpendicular_mm)
    volumes = [measure_lesion(voxels, each, number=1).volume_mm3 for each in (grid, larger)]
    assert volumes[1] == pytest.approx(factor**3 * volumes[0])
