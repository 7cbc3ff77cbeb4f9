"""Axial diameters of shapes that a pencil can measure, and of real nodules next to published ones."""

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.geometry import Grid
from segpipe.inference.measurements.axial import measure_axial
from segpipe.lesions import Voxels, equivalent_diameter_mm, find_components, measure_lesion

UNIT = Grid((40, 40, 40), np.eye(4))


def grid(affine, shape=(40, 40, 40)):
    return Grid(shape, np.asarray(affine, dtype=float))


def voxels(condition, length=40):
    return np.argwhere(condition(*np.indices((length,) * 3)))


def test_axial_diameters_of_a_rhombus():
    rhombus = voxels(lambda x, y, z: (abs(x - 20) / 8 + abs(y - 20) / 4 <= 1) & (z >= 7) & (z < 11))
    small = np.array([[20, 20, 3], [20, 20, 4]])
    size = measure_axial(Voxels.of(np.concatenate([small, rhombus])), UNIT)
    assert size.longest_mm == pytest.approx(16 + 1)
    assert size.perpendicular_mm == pytest.approx(8 + 1)
    assert size.slice_index == 7


def test_axial_diameters_do_not_look_along_the_body():
    column = voxels(lambda x, y, z: (x == 5) & (y >= 10) & (y < 13) & (z < 30))
    size = measure_axial(Voxels.of(column), grid(np.diag([0.5, 0.5, 2.0, 1.0])))
    assert size.longest_mm == pytest.approx(2 * 0.5 + 0.5)
    assert size.perpendicular_mm == pytest.approx(0.5)


def test_axial_diameters_of_one_voxel_are_its_edge():
    size = measure_axial(Voxels.of(np.array([[3, 4, 5]])), grid(np.diag([0.6, 0.8, 5.0, 1.0])))
    assert size.longest_mm == size.perpendicular_mm == pytest.approx(0.7)
    assert size.slice_index == 5


def test_the_slice_is_counted_along_the_scans_own_axis():
    sagittal = grid([[0, 0, 0.7, 0], [0.7, 0, 0, 0], [0, -2.5, 0, 0], [0, 0, 0, 1]])
    line = np.array([[x, 12, 4] for x in range(6)])
    size = measure_axial(Voxels.of(line), sagittal)
    assert size.slice_index == 12
    assert size.longest_mm == pytest.approx(5 * 0.7 + 0.7)


@settings(max_examples=40)
@given(st.floats(0, 180))
def test_an_ellipse_is_measured_at_any_angle(angle):
    turn = np.deg2rad(angle)

    def inside(x, y, z):
        u = (x - 40) * np.cos(turn) + (y - 40) * np.sin(turn)
        v = (y - 40) * np.cos(turn) - (x - 40) * np.sin(turn)
        return (u / 30) ** 2 + (v / 12) ** 2 <= 1

    ellipse = np.argwhere(inside(*np.indices((81, 81, 1))))
    size = measure_axial(Voxels.of(ellipse), grid(np.diag([0.5, 0.5, 2.0, 1.0])))
    assert size.longest_mm == pytest.approx(30.0, abs=0.8)
    assert size.perpendicular_mm == pytest.approx(12.0, abs=0.8)


def test_a_tilted_gantry_does_not_shorten_axial_diameters():
    tilted = np.diag([0.5, 0.5, 2.0, 1.0])
    tilted[1, 2] = 0.6
    disc = voxels(lambda x, y, z: ((x - 20) ** 2 + (y - 20) ** 2 <= 100) & (z == 8))
    size = measure_axial(Voxels.of(disc), grid(tilted))
    assert size.longest_mm == pytest.approx(10.5)
    assert size.perpendicular_mm == pytest.approx(10.5)


@pytest.mark.realdata
def test_diameters_of_real_nodules_agree_with_those_of_luna16(realdata):
    """LUNA16 gives one diameter per nodule, averaged over its readers; it follows the equivalent diameter."""
    from segpipe.io.images.volumes import read_volume

    crops = realdata / "lidc_nodules"
    with (crops / "nodules.csv").open() as stream:
        rows = list(csv.DictReader(stream))[::5]
    luna, equivalent, longest, perpendicular = [], [], [], []
    for row in rows:
        mask = read_volume(crops / "masks" / f"{row['nodule']}.nii.gz")
        indices = np.argwhere(mask.array)
        volume = measure_lesion(Voxels.of(indices), mask.grid, number=1).volume_mm3
        assert volume == pytest.approx(float(row["volume_mm3"]), rel=1e-3)
        size = measure_axial(find_components(mask.array).voxels(1), mask.grid)
        luna.append(float(row["diameter_mm"]))
        equivalent.append(equivalent_diameter_mm(volume))
        longest.append(size.longest_mm)
        perpendicular.append(size.perpendicular_mm)
    assert np.corrcoef(equivalent, luna)[0, 1] > 0.98
    assert 1.0 < np.median(np.divide(equivalent, luna)) < 1.2, "masks reach about half a voxel beyond the marks"
    assert np.mean(np.array(longest) > luna) > 0.97
    assert np.median(np.divide(perpendicular, luna)) == pytest.approx(1.0, abs=0.08)
    assert np.all(np.array(perpendicular) <= longest)


def test_of_two_longest_diameters_the_one_with_the_longer_perpendicular_counts_however_the_array_is_stored():
    """(0, 0) is 5 mm from (5, 0) and from (3, 4); only the first line has two voxels, 4 mm apart, at a right angle."""
    four = np.zeros((6, 6, 1), bool)
    four[[0, 5, 3, 3], [0, 0, 4, 0]] = True
    for turn in range(4):
        for stored in (np.rot90(four, turn), np.rot90(four, turn)[::-1]):
            size = measure_axial(Voxels.of(np.argwhere(stored)), UNIT)
            assert (size.longest_mm, size.perpendicular_mm) == pytest.approx((6, 5))
