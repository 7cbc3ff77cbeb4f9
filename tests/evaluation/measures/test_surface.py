from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from segpipe.evaluation.measures.foreground_crops import find_foreground_crops
from segpipe.evaluation.measures.surface import hausdorff_mm, surface_dice, surface_figures
from segpipe.evaluation.measures.surface_elements import surfel_areas
from segpipe.geometry import Grid, to_world

SPACING = (0.7, 0.8, 2.5)
masks = arrays(np.bool_, (6, 5, 4), elements=st.booleans())
spacings = st.tuples(*[st.floats(min_value=0.4, max_value=3.0)] * 3)


def grid_of(shape, spacing=SPACING):
    return Grid(shape, np.diag([*spacing, 1.0]))


def block(shape, start, size):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(begin, begin + count) for begin, count in zip(start, size, strict=True))] = True
    return mask


def measure(prediction, reference, grid, *, percent=95.0, tolerance_mm=1.0):
    crops = find_foreground_crops(prediction, reference, grid)
    return hausdorff_mm(crops, grid, percent=percent), surface_dice(crops, grid, tolerance_mm=tolerance_mm)


def test_a_flat_surface_has_the_area_of_a_face_and_a_lone_corner_that_of_its_triangle():
    areas = surfel_areas((1.0, 2.0, 3.0))
    below_z = sum(1 << bit for bit, corner in enumerate(product((0, 1), repeat=3)) if corner[2] == 0)
    assert areas[below_z] == pytest.approx(2.0)  # 1 mm × 2 mm
    # The triangle through (0.5, 0, 0), (0, 1, 0) and (0, 0, 1.5): half of |(1.5, 0.75, 0.5)|.
    assert areas[1] == pytest.approx(np.sqrt(1.5**2 + 0.75**2 + 0.5**2) / 2)
    assert areas[0] == areas[255] == 0.0


@given(spacings)
def test_a_mask_and_its_complement_have_the_same_surface(spacing):
    areas = surfel_areas(spacing)
    assert areas == pytest.approx(areas[::-1])


def test_equal_masks_have_no_distance():
    mask = block((9, 9, 9), (2, 2, 2), (4, 3, 2))
    assert measure(mask, mask, grid_of(mask.shape)) == (0.0, 1.0)


def test_a_shift_by_two_voxels_along_x():
    # The block moves 2 voxels of 0.7 mm: every border voxel of a 3×3×1 block finds one at 1.4, 0.7 or 0 mm.
    prediction, reference = (block((12, 9, 3), (2 + shift, 3, 1), (3, 3, 1)) for shift in (2, 0))
    grid = grid_of(prediction.shape)
    assert measure(prediction, reference, grid, percent=100.0)[0] == pytest.approx(1.4)
    assert measure(prediction, reference, grid, tolerance_mm=1.4)[1] == 1.0


def test_surfaces_in_parallel_planes_count_by_the_tolerance():
    # Two plates one voxel thick, far wider than thick, 2 voxels of 2.5 mm apart: rims aside nothing is within 4 mm.
    prediction, reference = (block((40, 40, 6), (2, 2, level), (36, 36, 1)) for level in (1, 3))
    grid = grid_of(prediction.shape, (1.0, 1.0, 2.5))
    assert measure(prediction, reference, grid, tolerance_mm=5.0)[1] == 1.0
    # The lower face of the upper plate lies 2.5 mm above the upper face of the lower one: half of both surfaces.
    assert measure(prediction, reference, grid, tolerance_mm=2.5)[1] == pytest.approx(0.5, abs=0.03)


def test_empty_masks():
    lesion, empty = block((9, 9, 9), (2, 2, 2), (3, 3, 3)), np.zeros((9, 9, 9), dtype=bool)
    grid = grid_of(lesion.shape)
    undefined = {"nsd": None, "hd95_mm": None}
    assert surface_figures(find_foreground_crops(empty, empty, grid), grid) == undefined
    assert surface_figures(find_foreground_crops(lesion, empty, grid), grid) == undefined
    assert surface_figures(find_foreground_crops(empty, lesion, grid), grid) == {"nsd": 0.0, "hd95_mm": None}


@settings(deadline=None)
@given(masks.filter(np.any), masks.filter(np.any), spacings, st.sampled_from([50.0, 95.0, 100.0]))
def test_the_distance_is_that_of_all_pairs_of_border_voxels(prediction, reference, spacing, percent):
    grid = grid_of(prediction.shape, spacing)
    borders = [mask & ~binary_erosion(mask) for mask in (prediction, reference)]
    table = cdist(*(to_world(grid.affine, np.argwhere(border)) for border in borders))
    expected = max(np.percentile(table.min(axis=1), percent), np.percentile(table.min(axis=0), percent))
    assert measure(prediction, reference, grid, percent=percent)[0] == pytest.approx(expected)


def test_rotated_and_sheared_grids_are_measured_in_millimetres():
    # One voxel each, 3 apart along the second axis, whose step is 2 mm along z and 1 mm along y.
    affine = np.array([[1.0, 0, 0, 9], [0, 1.0, 0, -4], [0, 2.0, 1.0, 30], [0, 0, 0, 1]])
    prediction, reference = (block((5, 6, 5), (2, start, 2), (1, 1, 1)) for start in (1, 4))
    distance, _ = measure(prediction, reference, Grid(prediction.shape, affine))
    assert distance == pytest.approx(3 * np.sqrt(5.0))
