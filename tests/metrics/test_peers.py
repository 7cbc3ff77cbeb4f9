"""The same figures as other people's packages; those of the extra `peers` are skipped where they are not installed."""

import warnings

import numpy as np
import pytest
import SimpleITK

from segpipe.geometry import Grid
from segpipe.metrics.evaluation import evaluate_pair
from segpipe.metrics.islands import find_islands
from segpipe.metrics.surface import hausdorff_mm, surface_dice

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (0.61, 0.83, 1.25)]

monai_noise = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI warns of itself


def peer(name):
    return pytest.importorskip(name, reason=f"{name} is not installed: pip install segpipe[peers]")


def lesion_pair(seed, spacing, shape=(48, 44, 20)):
    """Three lumpy lesions, the prediction shifted, resized and noisy at its border; one lesion touches the edge."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * np.array(spacing)
    masks = [np.zeros(shape, dtype=bool) for _ in range(2)]
    for centre in (np.array([12, 12, 6]), np.array([34, 30, 13]), np.array([40, 8, 0])):
        for mask, jitter in zip(masks, (1.0, 0.0), strict=True):
            middle = (centre + jitter * rng.normal(0, 1, 3)) * np.array(spacing)
            radius = rng.uniform(4.0, 7.0) + rng.normal(0, 0.6, shape)
            mask |= np.linalg.norm(places - middle, axis=-1) < radius
    return masks[0], masks[1], Grid(shape, np.diag([*spacing, 1.0]))


def monai_masks(*masks):
    import torch

    return [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in masks]


@monai_noise
@pytest.mark.parametrize("spacing", SPACINGS)
def test_dice_iou_and_hausdorff_are_those_of_monai(spacing):
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou

    prediction, reference, grid = lesion_pair(1, spacing)
    tensors = monai_masks(prediction, reference)
    figures = evaluate_pair("c", "p", prediction, reference, grid).figures
    assert figures["dice"] == pytest.approx(compute_dice(*tensors).item(), abs=1e-6)
    assert figures["iou"] == pytest.approx(compute_iou(*tensors).item(), abs=1e-6)
    islands = find_islands(prediction, reference, grid)
    for percent in (95, 100):
        theirs = compute_hausdorff_distance(*tensors, include_background=True, percentile=percent, spacing=spacing)
        assert hausdorff_mm(islands, grid, percent=percent) == pytest.approx(theirs.item(), abs=1e-4)
    assert figures["hd95_mm"] == pytest.approx(hausdorff_mm(islands, grid, percent=95.0))


@monai_noise
@pytest.mark.parametrize("spacing", SPACINGS)
def test_surface_dice_is_that_of_monai(spacing):
    from monai.metrics import compute_surface_dice

    prediction, reference, grid = lesion_pair(2, spacing)
    tensors = monai_masks(prediction, reference)
    for tolerance in (0.5, 1.0, 2.0):
        theirs = compute_surface_dice(
            *tensors, class_thresholds=[tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        )
        ours = surface_dice(find_islands(prediction, reference, grid), grid, tolerance_mm=tolerance)
        assert ours == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_dice_overlap_and_hausdorff_are_those_of_simpleitk(spacing):
    prediction, reference, grid = lesion_pair(3, spacing)
    images = [SimpleITK.GetImageFromArray(mask.astype(np.uint8).T) for mask in (prediction, reference)]
    for image in images:
        image.SetSpacing(spacing)
    overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
    overlap.Execute(images[1], images[0])  # source = reference, target = prediction
    figures = evaluate_pair("c", "p", prediction, reference, grid).figures
    assert figures["dice"] == pytest.approx(overlap.GetDiceCoefficient(1))
    assert figures["iou"] == pytest.approx(overlap.GetJaccardCoefficient(1))
    distance = SimpleITK.HausdorffDistanceImageFilter()
    distance.Execute(*images)
    ours = hausdorff_mm(find_islands(prediction, reference, grid), grid, percent=100.0)
    assert ours == pytest.approx(distance.GetHausdorffDistance(), abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", SPACINGS)
def test_surface_dice_is_that_of_surface_distance(spacing, seed):
    package = peer("surface_distance")
    prediction, reference, grid = lesion_pair(seed, spacing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it still calls scipy.ndimage.filters
        distances = package.compute_surface_distances(reference, prediction, spacing)
    for tolerance in (0.5, 1.0, 2.0):
        theirs = package.compute_surface_dice_at_tolerance(distances, tolerance)
        ours = surface_dice(find_islands(prediction, reference, grid), grid, tolerance_mm=tolerance)
        assert ours == pytest.approx(theirs, abs=1e-9)
