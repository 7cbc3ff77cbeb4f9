"""Hounsfield units, solid part and type of balls whose figures a pencil gives."""

import numpy as np
import pytest

from segpipe.geometry import Grid
from segpipe.inference.measurements.attenuation import classify, measure_attenuation
from segpipe.lesions import Voxels

GRID = Grid((40, 40, 20), np.diag([0.5, 0.5, 1.0, 1.0]))


def ball(radius_mm, centre=(20, 20, 10)):
    offsets = [(np.arange(n) - c) * edge for n, c, edge in zip(GRID.shape, centre, GRID.spacing_mm, strict=True)]
    return sum(np.meshgrid(*(offset**2 for offset in offsets), indexing="ij")) <= radius_mm**2


def measured(hu, inside):
    voxels = Voxels.of(np.argwhere(inside))
    box = tuple(slice(start, start + n) for start, n in zip(voxels.start, voxels.inside.shape, strict=True))
    return measure_attenuation(hu[box], voxels, GRID)


def test_a_row_of_five_voxels_has_its_mean_and_percentiles():
    hu = np.full(GRID.shape, -900, np.int16)
    hu[10:15, 5, 5] = [-700, -600, -400, -200, 100]
    row = np.zeros(GRID.shape, bool)
    row[10:15, 5, 5] = True
    found = measured(hu, row)
    assert found.mean_hu == pytest.approx(-360)
    assert found.median_hu == -400
    assert found.p5_hu == pytest.approx(-680)  # a fifth of the way from −700 to −600
    assert found.p95_hu == pytest.approx(40)
    assert found.solid_fraction == pytest.approx(0.4)


def test_the_solid_part_of_a_part_solid_ball_has_its_diameters():
    hu = np.where(ball(8), -600, -900)
    hu[ball(3)] = 20
    hu[20, 34, 10] = 50  # a vessel, apart from the core
    found = measured(hu, ball(8))
    assert found.solid_axial_diameter_mm == pytest.approx(6.5)  # 12 steps of 0.5 mm and an edge
    assert found.solid_perpendicular_diameter_mm == pytest.approx(6.5)
    assert found.solid_mean_diameter_mm == pytest.approx(6.5)
    assert found.solid_fraction == pytest.approx((ball(3).sum() + 1) / ball(8).sum())
    assert found.nodule_type == "part-solid"


@pytest.mark.parametrize(
    ("core_hu", "expected"), [(40, "solid"), (-650, "ground glass"), (700, "calcified"), (161, "calcified")]
)
def test_the_edge_that_partial_volume_darkens_does_not_change_the_type(core_hu, expected):
    hu = np.where(ball(4), core_hu, -900)
    rim = ball(4) & ~ball(3.4)
    hu[rim] = (core_hu - 900) // 2
    assert measured(hu, ball(4)).nodule_type == expected


def test_ground_glass_without_a_bright_voxel_has_no_solid_part():
    found = measured(np.full(GRID.shape, -300), ball(4))  # exactly −300 HU is not solid
    assert found.nodule_type == "ground glass"
    assert found.solid_fraction == 0
    assert (
        found.solid_axial_diameter_mm is found.solid_perpendicular_diameter_mm is found.solid_mean_diameter_mm is None
    )


@pytest.mark.parametrize(
    ("calcified", "solid", "expected"),
    [
        (10, 20, "calcified"),
        (9, 21, "solid"),
        (0, 15, "solid"),
        (0, 14, "part-solid"),
        (0, 3, "part-solid"),
        (0, 2, "ground glass"),
    ],
)
def test_the_shares_of_thirty_core_voxels_decide(calcified, solid, expected):
    hu = np.array([200] * calcified + [0] * solid + [-700] * (30 - calcified - solid))
    assert classify(hu) == expected


def test_a_single_voxel_has_a_type():
    voxel = np.zeros(GRID.shape, bool)
    voxel[3, 4, 5] = True
    assert measured(np.full(GRID.shape, 30), voxel).nodule_type == "solid"
