"""Sides and zones in a thorax of boxes, where it is known which lung is where."""

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.geometry import Grid
from segpipe.inference.measurements.lungs import separate_lungs
from segpipe.inference.measurements.place import Place, Places
from segpipe.lesions import Voxels

AFFINE = np.array([[-3.0, 0, 0, 165], [0, -3.0, 0, 120], [0, 0, 3.0, -300], [0, 0, 0, 1]])
LUNGS = {"right": (slice(15, 45), slice(20, 60)), "left": (slice(65, 95), slice(20, 60))}


def thorax(bridge=False, heights=slice(15, 65), affine=AFFINE, shape=(110, 80, 80)):
    """A block of tissue in air, with lungs of 90×120×150 mm 60 mm apart; a bridge of air 12 mm wide can join them."""
    image = np.full(shape, -1000, np.int16)
    image[5:105, 8:72] = 40
    for x, y in LUNGS.values():
        image[x, y, heights] = -850
    if bridge:
        image[45:65, 40:44, 40:44] = -850
    return Case("thorax", image, Grid(shape, affine))


def place_of(case, x, y, z, edge=3):
    corner = np.array([x, y, z])
    voxels = Voxels.of(np.argwhere(np.ones((edge,) * 3)) + corner)
    centre = case.grid.affine[:3, :3] @ voxels.centre + case.grid.affine[:3, 3]
    return Places(case).find(voxels, tuple(centre), slice_index=z)


@pytest.mark.parametrize("bridge", [False, True])
@pytest.mark.parametrize(
    ("voxel", "expected"),
    [
        ((30, 40, 18), Place("right", "lower")),
        ((30, 40, 38), Place("right", "middle")),
        ((80, 40, 60), Place("left", "upper")),
        ((44, 40, 38), Place("right", "middle")),  # on the wall between the lung and the middle
        ((53, 60, 50), Place("right", "outside the lungs")),
        ((70, 40, 74), Place("left", "outside the lungs")),
    ],
)
def test_a_lesion_has_the_side_of_the_nearest_lung_and_its_third(bridge, voxel, expected):
    assert place_of(thorax(bridge), *voxel) == expected


def test_a_scan_in_another_array_order_gives_the_same_places():
    axial = thorax()
    case = Case("turned", axial.image.transpose(2, 0, 1), Grid((80, 110, 80), AFFINE[:, [2, 0, 1, 3]]))
    assert place_of(case, 60, 80, 40) == Place("left", "upper")
    assert place_of(case, 18, 30, 40) == Place("right", "lower")


def test_an_oblique_scan_gives_the_same_places():
    angle = np.deg2rad(8)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = AFFINE.copy()
    affine[:3] = turn @ AFFINE[:3]
    assert place_of(thorax(affine=affine), 80, 40, 58) == Place("left", "upper")


@pytest.mark.parametrize("heights", [slice(0, 65), slice(15, 80)])
def test_lungs_that_the_scan_cuts_have_no_zones(heights):
    assert place_of(thorax(heights=heights), 30, 40, 38) == Place("right", "unknown")


def test_one_lung_alone_leaves_the_side_to_the_body():
    case = thorax()
    case.image[LUNGS["left"]] = 40
    assert separate_lungs(case).sides == (None,)
    assert place_of(case, 30, 40, 60) == Place("right", "upper")
    assert place_of(case, 80, 40, 60) == Place("left", "outside the lungs")


def test_a_crop_has_neither_side_nor_zone():
    case = thorax()
    crop = Case("crop", case.image[20:50, 30:60, 20:40].copy(), Grid((30, 30, 20), AFFINE))
    assert separate_lungs(crop) is None
    assert place_of(crop, 10, 10, 10) == Place(None, "unknown")


def test_both_ends_of_the_lungs_are_found_within_a_coarse_voxel():
    lungs = separate_lungs(thorax())
    bottom, top = -300 + 15 * 3, -300 + 64 * 3
    assert lungs.height_mm == pytest.approx((bottom, top), abs=6)
