"""One scan in, one prediction out: look, choose findings, measure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.errors import ModelError
from segpipe.geometry import to_world
from segpipe.inference.engines.engine import Engine
from segpipe.inference.findings import ClassComponents, Finding, measure_findings
from segpipe.inference.measurements.borders import is_cut
from segpipe.inference.options import PredictOptions
from segpipe.inference.painting import Painting
from segpipe.inference.postprocess import choose_findings
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.window.aggregator import Aggregator
from segpipe.inference.window.grid import InferenceGrid, choose_grid
from segpipe.inference.window.region import crop_to_lungs
from segpipe.inference.window.wider import middle_mm, wider_views
from segpipe.lesions import find_components
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.preprocessing.resampling import plan_preparation

Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network found in a scan.

    Args:
        mask: Label map, uint8, on the scan's own grid.
        findings: The mask's lesions, class by class, in each largest first; none when they were not measured.
        probabilities: Of each class, float32 on the scan's own grid before the threshold; empty when not kept.
        entropy: Of the foreground's probability, uint8 in steps of 1/`ENTROPY_STEPS` bit, or None when not kept.
    """

    mask: NDArray[np.uint8]
    findings: list[Finding]
    probabilities: Sequence[NDArray[np.float32]] = ()
    entropy: NDArray[np.uint8] | None = None

    @property
    def probability(self) -> NDArray[np.float32] | None:
        """Of the only class, or None where there are several or it was not kept."""
        return self.probabilities[0] if len(self.probabilities) == 1 else None


def predict_case(
    case: Case,
    recipe: Recipe,
    engine: Engine,
    options: PredictOptions,
    *,
    divisor: Shape,
    at_mm: Point | None = None,
    timer: StageTimer | None = None,
) -> Prediction:
    """Predicts one scan.

    A recipe of scope `scan` searches the whole scan; with `at_mm` only the component at (or nearest to) that point is
    kept. One of scope `voi` segments the lesion at `at_mm`, or in the middle of the image when there is no point, and
    always keeps one component. A lesion at a point that its window cuts is predicted again, from its middle and then
    through coarser voxels.

    Args:
        case: The scan.
        recipe: How the network wants scans.
        engine: Runs the network.
        options: See `PredictOptions`.
        divisor: What the network's input shape must be a multiple of.
        at_mm: A point in the scan, RAS+ mm.
        timer: Receives the time per stage and how far the scan is.

    Raises:
        GeometryError: when the point is outside the scan.
        ImageError: when a whole scan comes to a VOI model without a point.
        ModelError: when there are more findings than the options allow.
    """
    timer = timer or StageTimer()
    look = _Look(case=case, engine=engine, options=options, divisor=divisor, at_mm=at_mm, timer=timer)
    if recipe.scope == "voi" and at_mm is not None:
        seen = look.until_whole(recipe, at_mm)
    else:
        seen = look.at(recipe, around_mm=at_mm)
    _check_count(sum(len(found.kept) for found in seen.chosen), options.most_findings)
    with timer.stage("findings"):
        findings = measure_findings(case, seen.chosen, seen=seen.inference_grid.scan_box) if options.measure else []
    return Prediction(seen.aggregator.mask, findings, seen.aggregator.probabilities, seen.aggregator.entropy)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What one look at a scan shows: the mask in the aggregator, its findings, and the box that was looked at."""

    aggregator: Aggregator
    chosen: list[ClassComponents]
    inference_grid: InferenceGrid

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.aggregator.mask))


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How a scan is looked at, through whatever voxels."""

    case: Case
    engine: Engine
    options: PredictOptions
    divisor: Shape
    at_mm: Point | None
    timer: StageTimer

    def at(self, recipe: Recipe, *, around_mm: Point | None = None) -> _Seen:
        """Looks through the voxels of a recipe, at the scan or around a point."""
        preparation = plan_preparation(self.case.grid, recipe)
        window = getattr(self.engine, "window", None)
        inference_grid = choose_grid(preparation, recipe, self.divisor, at_mm=around_mm, window=window)
        if recipe.lung_crop and recipe.scope == "scan":
            inference_grid = crop_to_lungs(inference_grid, self.case)
        aggregator = Painting(self.case, recipe, self.engine, self.options, inference_grid, self.timer).paint()
        point = self.at_mm if self.at_mm is not None or recipe.scope == "scan" else _middle(self.case)
        with self.timer.stage("findings"):
            labels = recipe.label_map
            chosen = choose_findings(aggregator, preparation, labels=labels, point=self.options.point, at_mm=point)
        return _Seen(aggregator, chosen, inference_grid)

    def until_whole(self, recipe: Recipe, around_mm: Point) -> _Seen:
        """Looks at a lesion until the window holds all of it: from its middle, then through ever coarser voxels.

        In the midst of a large lesion a window may show nothing. Of several looks the one that shows most counts.
        """
        most = self.at(recipe, around_mm=around_mm)
        seen = most
        for view in wider_views(recipe):
            if seen.voxels:
                part = find_components(seen.aggregator.mask).box
                if not is_cut(part, seen.inference_grid.scan_box, self.case.grid):
                    break
                around_mm = middle_mm(part, self.case.grid)
            seen = self.at(view, around_mm=around_mm)
            most = seen if seen.voxels > most.voxels else most
        return most


def _check_count(count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise ModelError(
            f"a scan must have at most {most:,} findings",
            facts={"found": f"{count:,}"},
            hint="the model has not learned its task, or the scan is not what it knows; --threshold and --min-volume "
            "leave fewer",
        )


def _middle(case: Case) -> Point:
    x, y, z = to_world(case.grid.affine, [(count - 1) / 2 for count in case.grid.shape])
    return float(x), float(y), float(z)
