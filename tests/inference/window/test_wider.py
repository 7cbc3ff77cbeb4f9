"""Lesions larger than the window around a point."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from segpipe.case import Case
from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.window.aggregator import Aggregator
from segpipe.inference.window.grid import choose_grid
from segpipe.inference.window.wider import wider_views
from segpipe.lesions import find_components, superior_axis
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import plan_preparation

VOI = Recipe("voi", (0.7, 0.7, 1.25), (-1000.0, 400.0), (48, 48, 16), scope="voi")
AFFINES = {
    "RAS": np.diag([0.7, 0.7, 1.25, 1.0]),
    "LPS, thick": np.diag([-0.8, -0.8, 2.5, 1.0]),
    "SLA": np.array([[0, -0.8, 0, 3.0], [0, 0, 0.8, 9.0], [2.0, 0, 0, 100.0], [0, 0, 0, 1.0]]),
}
MIDDLE = np.array([5.0, -3.0, 2.0])  # mm from the scan's middle


class Bright:
    """Calls everything above −300 HU foreground; counts its windows."""

    name = "bright"

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, patches_bcxyz: torch.Tensor) -> torch.Tensor:
        self.windows += len(patches_bcxyz)
        return torch.sigmoid((patches_bcxyz - 0.5) * 30)


def ellipsoid(affine, radii_mm, *, size_mm=None):
    """A bright ellipsoid in dark lung; returns the scan, its mask and its middle (RAS+ mm)."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(int((size_mm or 2 * max(radii_mm) + 20) / length) for length in spacing)
    grid = Grid(shape, affine)
    middle = to_world(affine, (np.array(shape) - 1) / 2) + MIDDLE
    places = to_world(affine, np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3))
    mask = (((places - middle) / radii_mm) ** 2).sum(axis=1).reshape(shape) <= 1
    return Case("scan", np.where(mask, 30, -850).astype(np.int16), grid), mask, middle


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("radii_mm", [(4.0, 4.0, 4.0), (15.5, 10.0, 14.5), (12.0, 12.0, 20.0), (30.0, 29.0, 28.0)])
def test_a_lesion_of_any_size_up_to_60_mm_is_segmented_whole(name, radii_mm):
    case, mask, middle = ellipsoid(AFFINES[name], np.array(radii_mm))
    prediction = predict_case(case, VOI, Bright(), PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle + 1.0))
    assert dice(prediction.mask > 0, mask) > 0.95
    assert len(prediction.findings) == 1


def test_a_click_near_the_edge_of_a_lesion_that_fits_needs_no_coarser_voxels():
    case, mask, middle = ellipsoid(AFFINES["RAS"], np.array([7.0, 7.0, 7.0]))
    engine = Bright()
    click = tuple(middle + np.array([0.0, 0.0, 5.0]))  # 10 mm below it the window ends, before the lesion does
    prediction = predict_case(case, VOI, engine, PredictOptions(), divisor=(16, 16, 8), at_mm=click)
    assert engine.windows == 2
    assert dice(prediction.mask > 0, mask) > 0.97


def test_a_vessel_that_runs_out_of_the_window_makes_a_small_lesion_no_larger():
    """Through coarser voxels a network takes what the vessel leads to for a lesion; here that is a block of tissue."""
    case, mask, middle = ellipsoid(AFFINES["RAS"], np.array([5.0, 5.0, 5.0]), size_mm=90)
    x, y, z = np.rint(to_voxel(case.grid.affine, middle)).astype(int)
    case.image[x : x + 50, y - 2 : y + 3, z - 1 : z + 2] = 30
    case.image[x + 40 :, :, :] = 30
    engine = Bright()
    prediction = predict_case(case, VOI, engine, PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle))
    assert engine.windows == 1
    assert np.count_nonzero(prediction.mask) < 2.5 * np.count_nonzero(mask)
    assert prediction.findings[0].cut_by == "window"


def test_a_wider_look_that_denies_the_finer_one_does_not_count():
    """Through coarser voxels everything is called a lesion, on and on; what the finest voxels show is left."""

    class Leaking(Bright):
        def __call__(self, patches_bcxyz):
            found = super().__call__(patches_bcxyz)
            return found if self.windows <= 2 else torch.ones_like(found)

    case, mask, middle = ellipsoid(AFFINES["RAS"], np.array([12.0, 12.0, 14.0]), size_mm=150)
    prediction = predict_case(case, VOI, Leaking(), PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle))
    assert np.count_nonzero(prediction.mask) < np.count_nonzero(mask)
    assert prediction.findings[0].cut_by == "window"


def test_where_nothing_is_found_the_window_becomes_wider():
    case, mask, middle = ellipsoid(AFFINES["RAS"], np.array([28.0, 28.0, 28.0]))
    engine = Bright()  # is not even asked about a window that holds one value, as the first ones do here
    prediction = predict_case(case, VOI, engine, PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle))
    assert engine.windows < 4
    assert dice(prediction.mask > 0, mask) > 0.95


def test_a_lesion_that_the_window_holds_is_predicted_once():
    case, _, middle = ellipsoid(AFFINES["RAS"], np.array([5.0, 5.0, 5.0]))
    engine = Bright()
    predict_case(case, VOI, engine, PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle))
    assert engine.windows == 1


def test_of_several_looks_the_one_that_shows_most_counts():
    class OnlyFine(Bright):
        """Knows nothing of coarser voxels."""

        def __call__(self, patches_bcxyz):
            found = super().__call__(patches_bcxyz)
            return found if self.windows <= 2 else torch.zeros_like(found)

    case, _, middle = ellipsoid(AFFINES["RAS"], np.array([15.0, 15.0, 15.0]))
    engine = OnlyFine()
    prediction = predict_case(case, VOI, engine, PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle))
    assert engine.windows == 5
    low, high = (to_voxel(case.grid.affine, middle + end)[2] for end in ([0, 0, -10.0], [0, 0, 10.0]))
    slices = np.flatnonzero(prediction.mask.any(axis=(0, 1)))
    assert slices[0] == pytest.approx(low, abs=1.1)
    assert slices[-1] == pytest.approx(high, abs=1.1)


@pytest.mark.parametrize("name", AFFINES)
def test_a_lesion_that_just_fits_is_not_called_cut(name):
    case, _, middle = ellipsoid(AFFINES[name], np.array([15.0, 15.0, 8.0]))  # in a window of 33.6 × 33.6 × 20 mm
    found = predict_case(case, VOI, Bright(), PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle))
    assert found.findings[0].cut_by is None


@pytest.mark.parametrize("name", AFFINES)
def test_a_lesion_beyond_the_widest_window_is_called_cut_by_it(name):
    case, mask, middle = ellipsoid(AFFINES[name], np.array([20.0, 20.0, 44.0]))  # the widest is 67.5 mm high
    found = predict_case(case, VOI, Bright(), PredictOptions(), divisor=(16, 16, 8), at_mm=tuple(middle + 5.0))
    assert found.findings[0].cut_by == "window"
    assert 0.6 < np.count_nonzero(found.mask) / np.count_nonzero(mask) < 1


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("at_point", [True, False])
def test_half_a_ball_at_the_end_of_a_scan_is_called_cut_by_it(name, at_point):
    """Of a ball of 8 mm the lower half is in the scan, whatever the model: at a point, or in the whole scan."""
    case, mask, middle = ellipsoid(AFFINES[name], np.array([8.0, 8.0, 8.0]), size_mm=50)
    up = superior_axis(case.grid)
    half = round(to_voxel(case.grid.affine, middle)[up]) + 1
    kept = np.moveaxis(case.image, up, 0)[:half]
    image = np.moveaxis(kept, 0, up).copy()
    shown = Case("half", image, Grid(image.shape, case.grid.affine))
    recipe, at_mm = (VOI, tuple(middle)) if at_point else (replace(VOI, scope="scan"), None)
    options = PredictOptions(region=None)
    (finding,) = predict_case(shown, recipe, Bright(), options, divisor=(16, 16, 8), at_mm=at_mm).findings
    assert finding.cut_by == "upper end of the scan"
    assert finding.volume_mm3 < 0.65 * np.count_nonzero(mask) * case.grid.voxel_volume_mm3


@pytest.mark.parametrize("name", AFFINES)
@pytest.mark.parametrize("at_mm", [(0.0, 0.0, 0.0), (9.0, -6.0, 8.0)])  # from the scan's middle
def test_the_box_that_was_looked_at_is_the_one_that_is_painted(name, at_mm):
    case, _, middle = ellipsoid(AFFINES[name], np.array([4.0, 4.0, 4.0]), size_mm=50)
    grid = choose_grid(plan_preparation(case.grid, VOI), VOI, (16, 16, 8), at_mm=tuple(middle - MIDDLE + at_mm))
    painted = Aggregator(grid, case.image, thresholds=[0.5], labels=VOI.label_map)
    for number in range(grid.size[2]):
        painted.add(number, [torch.ones(grid.size[:2])])
    assert find_components(painted.mask).box == grid.scan_box


def test_a_window_of_60_mm_is_not_widened():
    (only,) = wider_views(Recipe("wide", (1.0, 1.0, 1.0), (-1000.0, 400.0), (64, 64, 64), scope="voi"))
    assert only.spacing_mm == (1.0, 1.0, 1.0)


def test_voxels_become_three_and_a_half_times_as_long_at_most():
    tiny = Recipe("tiny", (1.0, 1.0, 2.0), (-1000.0, 400.0), (8, 8, 8), scope="voi")
    assert [view.spacing_mm[0] for view in wider_views(tiny)] == [1.0, 1.5, 2.25, 3.375]
