"""A case is valid once it exists."""

import numpy as np
import pytest

from segpipe.case import Case, Volume, build_case
from segpipe.errors import GeometryError, ImageError, LabelError
from segpipe.geometry import Grid

SHAPE = (4, 5, 6)
GRID = Grid(SHAPE, np.diag([0.7, 0.7, 2.5, 1.0]))


def image(dtype=np.int16):
    return np.arange(120, dtype=dtype).reshape(SHAPE)


def mask(value=1):
    array = np.zeros(SHAPE, np.int16)
    array[1, 1, 1] = value
    return array


def test_image_and_mask_on_one_grid_make_a_case():
    case = build_case("c1", Volume(image(), GRID), Volume(mask(), GRID))
    assert case.mask.dtype == np.uint8
    assert case.mask.sum() == 1
    assert case.image.dtype == np.int16


def test_a_scan_needs_no_mask():
    assert build_case("c1", Volume(image(), GRID)).mask is None


def test_a_hundredth_of_a_millimetre_is_the_same_grid():
    near = GRID.affine.copy()
    near[2, 3] += 0.009
    assert build_case("c1", Volume(image(), GRID), Volume(mask(), Grid(SHAPE, near))).grid is GRID


def test_a_mask_on_another_grid_is_refused():
    other = Grid(SHAPE, np.diag([0.7, 0.7, 2.0, 1.0]))
    with pytest.raises(GeometryError, match="not on the same grid") as caught:
        build_case("c1", Volume(image(), GRID), Volume(mask(), other))
    assert caught.value.facts["case"] == "c1"
    assert str(caught.value.facts["mask"]) == "4×5×6, 0.70×0.70×2.00 mm, RAS"


def test_the_label_map_of_the_data_set_counts():
    assert build_case("c", Volume(image(), GRID), Volume(mask(2), GRID), labels={2: "x"}).mask.max() == 2
    with pytest.raises(LabelError, match="outside the label map"):
        build_case("c", Volume(image(), GRID), Volume(mask(2), GRID))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_counted(bad):
    array = image(np.float32)
    array[0, 0, :2] = bad
    with pytest.raises(ImageError, match="all voxels must be finite") as caught:
        Case("c1", array, GRID)
    assert caught.value.facts == {"case": "c1", "found": "2 NaN or infinite of 120 voxels"}


def test_a_constant_image_is_refused():
    with pytest.raises(ImageError, match="the image is constant") as caught:
        Case("c1", np.full(SHAPE, -1024, np.int16), GRID)
    assert caught.value.facts["value"] == -1024


def test_image_and_grid_must_have_one_shape():
    with pytest.raises(GeometryError, match="one shape"):
        Case("c1", np.zeros((4, 5, 7)), GRID)


@pytest.mark.parametrize(("scale", "scan"), [(1e-3, "0.0028×0.0035×0.015 mm"), (1e3, "2.8e+03×3.5e+03×1.5e+04 mm")])
def test_a_scan_in_another_unit_is_refused(scale, scan):
    with pytest.raises(GeometryError, match="must be in millimetres") as caught:
        Case("c1", image(), Grid(SHAPE, np.diag([0.7 * scale, 0.7 * scale, 2.5 * scale, 1.0])))
    assert caught.value.facts["scan"] == scan


def test_grids_that_differ_in_their_place_alone_are_reported_with_their_place():
    moved = GRID.affine.copy()
    moved[0, 3] = 35
    with pytest.raises(GeometryError, match="not on the same grid") as caught:
        build_case("c1", Volume(image(), GRID), Volume(mask(), Grid(SHAPE, moved)))
    assert caught.value.facts["image"] == "4×5×6, 0.70×0.70×2.50 mm, RAS, from (0.00, 0.00, 0.00) mm"
    assert caught.value.facts["mask"] == "4×5×6, 0.70×0.70×2.50 mm, RAS, from (35.00, 0.00, 0.00) mm"


def test_grids_that_are_turned_against_each_other_are_reported_with_their_ends():
    turned = GRID.affine.copy()
    turned[1, 0] = 0.05
    with pytest.raises(GeometryError, match="not on the same grid") as caught:
        build_case("c1", Volume(image(), GRID), Volume(mask(), Grid(SHAPE, turned)))
    assert str(caught.value.facts["image"]).endswith("to (2.10, 2.80, 12.50) mm")
    assert str(caught.value.facts["mask"]).endswith("to (2.10, 2.95, 12.50) mm")


@pytest.mark.parametrize("value", [1.00000035, 0.9999])
def test_a_mask_that_a_slope_took_a_little_off_whole_numbers_is_whole(value):
    case = build_case("c1", Volume(image(), GRID), Volume(mask().astype(np.float32) * np.float32(value), GRID))
    assert np.unique(case.mask).tolist() == [0, 1]


@pytest.mark.parametrize("value", [0.9, 0.5, 1.002, np.nan])
def test_a_mask_of_probabilities_is_none(value):
    array = np.zeros(SHAPE, np.float32)
    array[1, 1, 1] = value
    with pytest.raises(LabelError):
        build_case("c1", Volume(image(), GRID), Volume(array, GRID))
