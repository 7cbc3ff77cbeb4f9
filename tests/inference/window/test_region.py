"""Windows that hold a part of the region are wanted, others are not."""

from dataclasses import replace

import numpy as np
import pytest

from segpipe.case import Case, Volume
from segpipe.geometry import Grid, to_voxel
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.window.grid import choose_grid
from segpipe.inference.window.region import windows_in
from segpipe.preprocessing.lungs import find_lungs
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import plan_preparation
from tests.samples.synthetic_chest import AFFINE, SHAPE, chest

RECIPE = Recipe("test", (1.0, 1.0, 1.0), (-1000.0, 400.0), (8, 8, 8))
GRID = Grid((40, 40, 40), np.eye(4))


def region_of(*voxels, spacing=4.0):
    array = np.zeros((10, 10, 10), bool)
    for voxel in voxels:
        array[voxel] = True
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = 1.5  # voxel 0 reaches from −0.5 to 3.5 mm
    return Volume(array, Grid(array.shape, affine))


def test_a_coarse_voxel_counts_with_its_whole_extent():
    """Voxel 3 of the region reaches from 11.5 to 15.5 mm, voxel 3 along the other axes likewise."""
    inference_grid = choose_grid(plan_preparation(GRID, RECIPE), RECIPE, (1, 1, 1))
    wanted = windows_in(region_of((3, 3, 3)), inference_grid)
    assert wanted((8, 8, 8))
    assert wanted((5, 12, 12))  # its last voxel is 12
    assert not wanted((4, 12, 12))  # its last voxel is 11
    assert wanted((15, 12, 12))  # its first voxel is 15
    assert not wanted((16, 12, 12))


def test_an_empty_region_wants_nothing():
    inference_grid = choose_grid(plan_preparation(GRID, RECIPE), RECIPE, (1, 1, 1))
    assert not windows_in(region_of(), inference_grid)((0, 0, 0))


def test_what_lies_in_the_region_is_predicted_as_without_it():
    class Bright:
        calls = 0

        def __call__(self, patches):
            Bright.calls += len(patches)
            return patches

    image = np.random.default_rng(0).integers(-1000, 400, GRID.shape).astype(np.int16)
    affine = np.array([[0, -1.0, 0, 39], [1.0, 0, 0, 0], [0, 0, -1.0, 39], [0, 0, 0, 1]])
    case = Case("noise", image, Grid(GRID.shape, affine))
    region = region_of((1, 1, 1), (1, 2, 1))
    everywhere = predict_case(case, RECIPE, Bright(), PredictOptions(), divisor=(1, 1, 1))
    all_calls, Bright.calls = Bright.calls, 0
    within = predict_case(case, RECIPE, Bright(), PredictOptions(region=lambda case: region), divisor=(1, 1, 1))
    assert 0 < Bright.calls < all_calls / 4
    x, y, z = np.meshgrid(range(4, 8), range(4, 12), range(4, 8), indexing="ij")  # the region, in RAS+ mm
    voxels = (y, 39 - x, 39 - z)
    np.testing.assert_allclose(within.probability[voxels], everywhere.probability[voxels], atol=1e-6)
    assert within.probability[20:, :20, :20].max() == 0


class Everything:
    def __call__(self, patches):
        return patches.new_ones(patches.shape)


def test_a_recipe_that_crops_to_the_lungs_finds_nothing_outside_their_box():
    case = Case("chest", chest(), Grid(SHAPE, AFFINE))
    box = find_lungs(case).box
    recipe = Recipe("test", (5.0, 5.0, 10.0), (-1000.0, 400.0), (16, 16, 8), lung_crop=True)
    prediction = predict_case(case, recipe, Everything(), PredictOptions(), divisor=(1, 1, 1))
    assert prediction.mask[box].any()
    outside = prediction.mask.copy()
    outside[box] = 0
    assert not outside.any()
    whole = predict_case(case, replace(recipe, lung_crop=False), Everything(), PredictOptions(), divisor=(1, 1, 1))
    assert whole.mask.sum() > prediction.mask.sum()
    (finding,) = prediction.findings
    centre = to_voxel(AFFINE, finding.centre_mm)
    assert all(axis.start <= index < axis.stop for axis, index in zip(box, centre, strict=True))


def test_without_lungs_the_whole_scan_is_used_and_that_is_reported(caplog):
    case = Case("abdomen", chest(lungs=False), Grid(SHAPE, AFFINE))
    recipe = Recipe("test", (5.0, 5.0, 10.0), (-1000.0, 400.0), (16, 16, 8), lung_crop=True)
    prediction = predict_case(case, recipe, Everything(), PredictOptions(), divisor=(1, 1, 1))
    assert prediction.mask.all()
    assert "abdomen: no lungs found, the whole scan is used" in caplog.text


class BrightHalf:
    """Calls every bright voxel foreground, with probabilities of 0.9."""

    def __call__(self, patches):
        return 0.9 * (patches > 0.5).float()


def test_what_only_lies_in_the_windows_of_a_region_is_no_finding_and_what_reaches_into_it_is_whole():
    """Three bright bars in one window: one in the region, one that ends in it and one beside it."""
    image = np.full((40, 40, 40), -1000, np.int16)
    bars = {"inside": (10, slice(10, 14)), "reaches": (16, slice(13, 30)), "beside": (22, slice(20, 30))}
    for x, ys in bars.values():
        image[x : x + 2, ys, 10:12] = 200
    region = np.zeros((14, 14, 14), np.uint8)  # a coarse grid of every third voxel
    region[:, :5] = 1
    coarse = Volume(region, Grid((14, 14, 14), np.diag([3.0, 3.0, 3.0, 1.0])))
    case = Case("bars", image, Grid((40, 40, 40), np.eye(4)))
    recipe = Recipe("test", (1.0, 1.0, 1.0), (-1000.0, 400.0), (32, 32, 32), lung_crop=True)
    options = PredictOptions(region=lambda case: coarse, keep_probability=True)
    prediction = predict_case(case, recipe, BrightHalf(), options, divisor=(1, 1, 1))
    x, y = bars["reaches"]
    assert prediction.mask[10:12, 10:14, 10:12].all()
    assert prediction.mask[x : x + 2, y, 10:12].all()
    assert not prediction.mask[22:24].any()
    assert prediction.probability[22:24].max() == 0
    assert [finding.mean_probability for finding in prediction.findings] == pytest.approx([0.9, 0.9])
    (pointed,) = predict_case(case, recipe, BrightHalf(), options, divisor=(1, 1, 1), at_mm=(22, 25, 10)).findings
    assert pointed.volume_mm3 == 40
    elsewhere = predict_case(case, replace(recipe, lung_crop=False), BrightHalf(), options, divisor=(1, 1, 1))
    assert len(elsewhere.findings) == 3
