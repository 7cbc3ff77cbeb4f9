"""Explains the findings of a prediction: a map on the scan's own grid for outlines, and one for a rating."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.export.model_folder import ModelFolder
from segpipe.geometry import to_voxel
from segpipe.inference.engines.engine import Engine
from segpipe.inference.engines.gradients import require_gradients
from segpipe.inference.explanation.attribution import UNITS, Question, attribute
from segpipe.inference.explanation.explanation import Explanation
from segpipe.inference.explanation.scores import RatingScore, RegionScore
from segpipe.inference.findings import Finding, number_findings
from segpipe.inference.ratings.inputs import measurement_row
from segpipe.inference.ratings.rater import Rater
from segpipe.inference.window.grid import InferenceGrid, SliceReader, choose_grid
from segpipe.inference.window.nearest import nearest_values
from segpipe.labels import LabelMap
from segpipe.preprocessing.rating_crop import cut_crop
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.preprocessing.resampling import interpolate, orient, plan_preparation

_AIR_HU = -1000.0


class Found(Protocol):
    """What was found in a scan; `segpipe.inference.predictor.Prediction` is one."""

    @property
    def mask(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def findings(self) -> Sequence[Finding]: ...  # noqa: D102


def explain_outlines(case: Case, found: Found, engine: Engine, model: ModelFolder, method: str) -> Explanation:
    """What in the scan the outlines rest on: for each finding the window around its middle is explained.

    Args:
        case: The scan.
        found: Mask and findings.
        engine: Runs the network.
        model: Its recipe and divisor.
        method: One of `METHODS`.
    """
    network, recipe = require_gradients(engine, "--explain"), model.recipe
    volume = np.zeros_like(case.image, dtype=np.float32, subok=False)
    numbered = number_findings(found.mask, recipe.label_map)
    classes = [label.name for label in recipe.label_map.classes]
    for finding in found.findings:
        number = classes.index(finding.label)
        grid = _window(case, recipe, model.divisor, finding)
        region = nearest_values(numbered[number] == finding.number, grid)
        if region.any():  # a finding may be smaller than the voxels of the recipe
            question = _question(case, grid, recipe, RegionScore(network.network, recipe.label_map, number, region))
            _paint(volume, attribute(question, method), grid)
    return Explanation(method, volume, f"{UNITS[method]}, of the mean log odds of a finding's voxels")


def explain_rating(case: Case, found: Found, rater: Rater, labels: LabelMap, method: str) -> Explanation:
    """What in the scan the first rating of a model rests on, e.g. malignancy; the measurements stay as they are."""
    model, volume = rater.model, np.zeros_like(case.image, dtype=np.float32, subok=False)
    numbered = number_findings(found.mask, labels)
    classes = [label.name for label in labels.classes]
    for finding in found.findings:
        inside = numbered[classes.index(finding.label)] == finding.number
        scan, nodule = torch.from_numpy(cut_crop(case, inside, finding.centre_mm, model.crop))
        score = RatingScore(model.network, 0, nodule, torch.from_numpy(measurement_row(finding))[None])
        shown = attribute(Question(score, scan[None, None], air=-1.0, neutral=-1.0), method)
        _paint_crop(volume, shown.numpy(), case, finding, model.crop.spacing_mm)
    name = model.scales[0].name
    return Explanation(f"{method}-{name}", volume, f"{UNITS[method]}, of the expected grade of {name}")


def _window(case: Case, recipe: Recipe, divisor: Shape, finding: Finding) -> InferenceGrid:
    """A window around the middle of a finding, also for a network that searches whole scans."""
    preparation = plan_preparation(case.grid, recipe)
    return choose_grid(preparation, replace(recipe, scope="voi"), divisor, at_mm=finding.centre_mm)


def _question(case: Case, grid: InferenceGrid, recipe: Recipe, score: RegionScore) -> Question:
    device = next(score.network.parameters()).device
    reader = SliceReader(case.image, grid, recipe)
    image = torch.stack([reader.read(number) for number in range(grid.size[2])], dim=2)[None, None]
    low, high = recipe.window_hu
    air = min(max((_AIR_HU - low) / (high - low), 0.0), 1.0)
    return Question(score.to(device), image.to(device), air=air, neutral=float(image.median()))


def _paint(volume: NDArray[np.float32], found: torch.Tensor, grid: InferenceGrid) -> None:
    """Brings a window's map to the scan's voxels in it."""
    parts = [grid.box_positions(axis) for axis in range(3)]
    shown = interpolate(found, [positions for _, positions in parts]).numpy()
    oriented = orient(volume, grid.preparation)
    _keep_farther(oriented[tuple(part for part, _ in parts)], shown)


def _paint_crop(
    volume: NDArray[np.float32], found: NDArray[np.float32], case: Case, finding: Finding, spacing_mm: float
) -> None:
    """The same of a crop along the patient's axes, around the middle of a finding."""
    from scipy.ndimage import map_coordinates

    reach = (len(found) - 1) / 2 * spacing_mm
    corners = np.array(np.meshgrid(*[(-reach, reach)] * 3, indexing="ij")).reshape(3, -1).T + finding.centre_mm
    voxels = to_voxel(case.grid.affine, corners)
    low = np.clip(np.ceil(voxels.min(axis=0)).astype(int), 0, case.grid.shape)
    high = np.clip(np.floor(voxels.max(axis=0)).astype(int) + 1, low, case.grid.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    indices = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1)
    apart = indices @ case.grid.affine[:3, :3].T + case.grid.affine[:3, 3] - finding.centre_mm
    places = np.moveaxis((apart + reach) / spacing_mm, -1, 0)
    _keep_farther(volume[box], map_coordinates(found, places, order=1, mode="constant"))


def _keep_farther(volume: NDArray[np.generic], found: NDArray[np.float32]) -> None:
    """Keeps in place, of both values of a voxel, the one farther from 0."""
    np.copyto(volume, found, where=np.abs(found) > np.abs(volume))
