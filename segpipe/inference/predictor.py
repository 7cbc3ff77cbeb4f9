"""One scan in, one prediction out: prepare, slide, paint, clean, measure."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.config.bounds import Count, Flips, Overlap, check_bounds
from segpipe.errors import ModelError
from segpipe.geometry import to_world
from segpipe.inference.engines.device_memory import CPU, FittingBatches, choose_place, release_memory
from segpipe.inference.engines.engine import Engine
from segpipe.inference.findings import Finding, measure_findings
from segpipe.inference.operating_point import OperatingPoint
from segpipe.inference.postprocess import choose_findings
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.window.aggregator import Aggregator
from segpipe.inference.window.grid import InferenceGrid, SliceReader, choose_grid
from segpipe.inference.window.region import FindRegion, crop_to_lungs, windows_in
from segpipe.inference.window.sliding import Run, Sliding, Wanted, predict_flipped, slide
from segpipe.preprocessing.lungs import lung_mask
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.preprocessing.resampling import plan_preparation

Point = tuple[float, float, float]
MOST_FINDINGS = 1000
"""A network that marks more in one scan has not learned its task; no page or report could show them."""


@dataclass(frozen=True)
class PredictOptions:
    """How a scan is predicted; the result depends on nothing else.

    Args:
        overlap: Part of the window that neighbours share at least, 0 ≤ overlap < 1.
        flips: Axes to mirror (0, 1, 2 of the recipe's orientation); the mean over all subsets counts.
        threshold: Probability from which a voxel is foreground, on the scan's own grid.
        min_volume_mm3: Smaller components are removed.
        min_probability: Lesions with a lower mean probability are removed.
        classes: Name of a class → an operating point of its own.
        batch: Windows per forward pass; None leaves it to the engine.
        keep_probability: Whether the prediction holds the probability volume.
        keep_entropy: Whether it holds the entropy of the probability.
        region: Finds where lesions can be; windows outside are left out. None, or one that finds
            nothing, searches everywhere.
        most_findings: A scan with more findings is refused before they are measured; None measures any number.
        measure: Whether findings are measured; an evaluation, which measures the mask itself, has no use for them.

    Raises:
        ConfigError: for values out of range.
    """

    overlap: float = 0.5
    flips: tuple[int, ...] = ()
    threshold: float = 0.5
    min_volume_mm3: float = 0.0
    min_probability: float = 0.0
    classes: Mapping[str, OperatingPoint] = field(default_factory=dict)
    batch: int | None = None
    keep_probability: bool = True
    keep_entropy: bool = False
    region: FindRegion | None = lung_mask
    most_findings: int | None = None
    measure: bool = True

    def __post_init__(self) -> None:
        check_bounds("overlap", self.overlap, Overlap)
        check_bounds("flips", self.flips, Flips)
        check_bounds("batch", self.batch, Count | None)
        self.point.check()

    @classmethod
    def at(cls, point: OperatingPoint, **others: Any) -> "PredictOptions":
        """Options for an operating point, as readers want them; evaluations take any number and the probability."""
        return cls(**vars(point), **{"keep_probability": False, "most_findings": MOST_FINDINGS, **others})

    @property
    def point(self) -> OperatingPoint:
        """What a lesion must have to be a finding."""
        return OperatingPoint(self.threshold, self.min_volume_mm3, self.min_probability, self.classes)

    def to_dict(self) -> dict[str, Any]:
        """All values by name; without `classes` where all classes have the same operating point."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in {**values, **self.point.to_dict()}.items() if name != "classes" or value}


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
    always keeps one component.

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
    preparation = plan_preparation(case.grid, recipe)
    inference_grid = choose_grid(preparation, recipe, divisor, at_mm=at_mm, window=getattr(engine, "window", None))
    if recipe.lung_crop and recipe.scope == "scan":
        inference_grid = crop_to_lungs(inference_grid, case)
    aggregator = _Painting(case, recipe, engine, options, inference_grid, timer).paint()
    point = at_mm if at_mm is not None or recipe.scope == "scan" else _middle(case)
    with timer.stage("findings"):
        chosen = choose_findings(aggregator, preparation, labels=recipe.label_map, point=options.point, at_mm=point)
        _check_count(sum(len(found.kept) for found in chosen), options.most_findings)
        findings = measure_findings(case, chosen) if options.measure else []
    return Prediction(aggregator.mask, findings, aggregator.probabilities, aggregator.entropy)


@dataclass(frozen=True)
class _Painting:
    """What is slid over a scan, and what of it is painted on the scan's grid."""

    case: Case
    recipe: Recipe
    engine: Engine
    options: PredictOptions
    inference_grid: InferenceGrid
    timer: StageTimer

    def paint(self) -> Aggregator:
        """Paints where there is room for a layer of windows: on the network's device, or else on the CPU."""
        place = choose_place(self.engine, self.inference_grid.layer_bytes(len(self.recipe.label_map.classes)))
        if place.type != "cpu":
            with suppress(torch.OutOfMemoryError):
                return self._paint_at(place)
            release_memory()
        return self._paint_at(CPU)

    def _paint_at(self, place: torch.device) -> Aggregator:
        """Slides over the box and paints each slice on the scan's grid as soon as it is final."""
        labels, options, grid = self.recipe.label_map, self.options, self.inference_grid
        aggregator = Aggregator(
            grid,
            self.case.image,
            thresholds=[options.point.of(label.name).threshold for label in labels.classes],
            labels=labels,
            keep_probability=options.keep_probability,
            keep_entropy=options.keep_entropy,
        )
        batch = options.batch or int(getattr(self.engine, "batch", 1))
        sliding = Sliding(grid.window, options.overlap, batch, len(labels.classes), place)
        planes = slide(self._reader(), grid.size, sliding, self._network(), wanted=self._wanted())
        for number, probabilities_xy in enumerate(planes):
            with self.timer.stage("way back"):
                aggregator.add(number, probabilities_xy)
            self.timer.advance(number + 1, grid.size[2])
        return aggregator

    def _reader(self) -> Callable[[int], torch.Tensor]:
        reader = SliceReader(self.case.image, self.inference_grid, self.recipe)

        def read(number: int) -> torch.Tensor:
            with self.timer.stage("preparation"):
                return reader.read(number)

        return read

    def _network(self) -> Run:
        fitting = FittingBatches(lambda patches: predict_flipped(self.engine, patches, self.options.flips))

        def run(patches_bcxyz: torch.Tensor) -> torch.Tensor:
            with self.timer.stage("network"):
                return fitting(patches_bcxyz)

        return run

    def _wanted(self) -> Wanted | None:
        with self.timer.stage("region"):
            find = self.options.region if self.recipe.scope == "scan" else None
            region = find(self.case) if find else None
            return windows_in(region, self.inference_grid) if region else None


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
