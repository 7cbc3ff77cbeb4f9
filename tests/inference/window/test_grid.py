"""The box that a network sees: where it lies, what it repeats, and how it is prepared slice by slice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from segpipe.errors import GeometryError
from segpipe.geometry import Grid, round_up, to_world
from segpipe.inference.window.grid import SliceReader, choose_grid, crop_frame, neighbours
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import apply_window, plan_preparation, resample_to_recipe

RECIPE = Recipe("test", (1.0, 1.0, 2.0), (-1000.0, 400.0), (16, 16, 8))
VOI = Recipe("test", (1.0, 1.0, 2.0), (-1000.0, 400.0), (16, 16, 8), scope="voi")
ONE = (1, 1, 1)


def grid(shape, spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Grid(shape, affine)


def test_a_scan_larger_than_the_window_is_its_own_box():
    inference_grid = choose_grid(plan_preparation(grid((40, 30, 20)), RECIPE), RECIPE, ONE)
    assert (inference_grid.start, inference_grid.size, inference_grid.window) == ((0, 0, 0), (40, 30, 20), (16, 16, 8))


def test_a_smaller_scan_lies_in_the_middle():
    inference_grid = choose_grid(plan_preparation(grid((40, 10, 3)), RECIPE), RECIPE, ONE)
    assert (inference_grid.start, inference_grid.size) == ((0, -3, -3), (40, 16, 8))


def test_the_window_is_a_multiple_of_the_divisor():
    assert choose_grid(plan_preparation(grid((40, 40, 40)), RECIPE), RECIPE, (32, 8, 8)).window == (32, 16, 8)
    assert round_up((1, 16, 17), (16, 16, 16)) == (16, 16, 32)


def test_an_engine_with_one_shape_sets_the_window():
    inference_grid = choose_grid(plan_preparation(grid((40, 40, 40)), RECIPE), RECIPE, ONE, window=(24, 24, 24))
    assert inference_grid.window == (24, 24, 24)
    crop = choose_grid(plan_preparation(grid((20, 20, 9)), VOI), VOI, ONE, window=(16, 16, 8))
    assert (crop.size, crop.window) == ((20, 20, 9), (16, 16, 8))


def test_a_crop_is_one_window_around_its_middle():
    inference_grid = choose_grid(plan_preparation(grid((20, 10, 4)), VOI), VOI, (8, 8, 8))
    assert inference_grid.size == inference_grid.window == (24, 16, 8)
    assert inference_grid.start == (-2, -3, -2)


def test_the_window_around_a_point_has_it_in_the_middle():
    scan = grid((100, 100, 50), origin=(-50.0, -60.0, 10.0))
    inference_grid = choose_grid(plan_preparation(scan, VOI), VOI, ONE, at_mm=(-10.2, 0.4, 50.0))
    assert inference_grid.start == (32, 53, 16)  # index 39.8 − 7.5, 60.4 − 7.5 and 20 − 3.5 (to even)


def test_a_point_just_outside_is_refused_and_one_in_the_outermost_voxel_is_not():
    preparation = plan_preparation(grid((100, 100, 50)), VOI)
    choose_grid(preparation, VOI, ONE, at_mm=(-0.49, 99.49, 98.9))
    with pytest.raises(GeometryError, match="must lie in the scan"):
        choose_grid(preparation, VOI, ONE, at_mm=(-0.51, 50.0, 50.0))


@settings(max_examples=20)
@given(
    st.tuples(*[st.floats(-20, 20)] * 3),
    st.tuples(*[st.floats(0.5, 3.0)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
)
def test_slices_are_those_of_the_whole_preparation(angles, spacing, order, signs):
    shape = (14, 17, 12)
    affine = np.eye(4)
    turned = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.eye(3)[:, list(order)]
    affine[:3, :3] = turned * spacing * np.array(signs)
    image = np.random.default_rng(0).integers(-1200, 600, shape).astype(np.int16)
    preparation = plan_preparation(Grid(shape, affine), RECIPE)
    inference_grid = choose_grid(preparation, RECIPE, ONE)
    reader = SliceReader(image, inference_grid, RECIPE)
    found = torch.stack([reader.read(number) for number in range(inference_grid.size[2])], dim=2)
    x, y, z = (
        slice(-start, -start + count) for start, count in zip(inference_grid.start, preparation.grid.shape, strict=True)
    )
    expected = apply_window(resample_to_recipe(image, preparation), RECIPE)
    torch.testing.assert_close(found[x, y, z], expected, atol=2e-5, rtol=0)
    assert found.shape == inference_grid.size


def test_outside_the_scan_the_border_repeats():
    image = np.arange(-500, -500 + 4 * 16 * 8, dtype=np.int16).reshape(16, 8, 4)
    inference_grid = choose_grid(plan_preparation(grid((16, 8, 4)), RECIPE), RECIPE, ONE)
    reader = SliceReader(image, inference_grid, RECIPE)
    torch.testing.assert_close(reader.read(0), reader.read(2))
    torch.testing.assert_close(reader.read(6), reader.read(5))
    first = reader.read(3)
    torch.testing.assert_close(first[:, 0], first[:, 4])
    torch.testing.assert_close(first[:, 15], first[:, 11])


def test_the_way_back_takes_the_scans_voxels_inside_the_box():
    scan = grid((100, 100, 50), spacing=(0.5, 0.5, 2.0))
    inference_grid = choose_grid(plan_preparation(scan, VOI), VOI, ONE, at_mm=(20.0, 20.0, 20.0))
    inside, positions = inference_grid.box_positions(0)
    near, far = to_world(scan.affine, [[inside.start, 0, 0], [inside.stop - 1, 0, 0]])[:, 0]
    assert inference_grid.start[0] == 12
    assert (near, far) == (11.5, 27.5)  # half a recipe voxel beyond the centres 12 and 27
    assert positions.min() == 0
    assert positions.max() == 15


def test_memory_of_a_layer_grows_with_its_plane_and_not_with_the_scan():
    short = choose_grid(plan_preparation(grid((64, 64, 20)), RECIPE), RECIPE, ONE)
    long = choose_grid(plan_preparation(grid((64, 64, 2000)), RECIPE), RECIPE, ONE)
    assert short.layer_bytes(1) == long.layer_bytes(1) == 3 * 4 * 64 * 64 * 8
    assert short.layer_bytes(4) == 6 * 4 * 64 * 64 * 8


def test_neighbours_are_clamped():
    assert neighbours(-2.0, 5) == (0, 1, 0.0)
    assert neighbours(9.0, 5) == (4, 4, 0.0)
    assert neighbours(2.25, 5) == (2, 3, 0.25)
    assert neighbours(0.0, 1) == (0, 0, 0.0)


def test_a_frame_is_cropped_to_a_box_of_the_scan_on_the_recipes_grid():
    # Slices of 4 mm become 2 mm: slices 3 … 10 of the scan are slices 6 … 20 of the recipe's grid.
    inference_grid = choose_grid(plan_preparation(grid((60, 50, 20), (1.0, 1.0, 4.0)), RECIPE), RECIPE, ONE)
    part = crop_frame(inference_grid, (slice(10, 40), slice(5, 30), slice(3, 11)))
    assert (part.start, part.size, part.window) == ((10, 5, 6), (30, 25, 15), inference_grid.window)


def test_a_cropped_frame_stays_in_the_scan_and_holds_a_window():
    inference_grid = choose_grid(plan_preparation(grid((60, 10, 20)), RECIPE), RECIPE, ONE)
    part = crop_frame(inference_grid, (slice(56, 60), slice(2, 6), slice(10, 12)))
    assert (part.start, part.size) == ((44, -3, 7), (16, 16, 8))


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_box_is_found_again_whatever_way_the_axes_run(signs):
    scan = Grid((60, 50, 40), np.diag([*np.multiply(signs, (1.0, 1.0, 2.0)), 1.0]))
    inference_grid = choose_grid(plan_preparation(scan, RECIPE), RECIPE, ONE)
    box = (slice(10, 40), slice(5, 30), slice(8, 30))
    part = crop_frame(inference_grid, box)
    inside = to_world(scan.affine, [[10, 5, 8], [39, 29, 29]])
    corners = to_world(inference_grid.preparation.grid.affine, [part.start, np.add(part.start, part.size) - 1])
    np.testing.assert_allclose(np.sort(corners, axis=0), np.sort(inside, axis=0))
