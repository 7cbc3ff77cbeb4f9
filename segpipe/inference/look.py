"""How a scan is looked at: whole, or around a lesion, through a window that holds it and as a reader corrects it."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case, Volume
from segpipe.errors import GeometryError
from segpipe.geometry import to_world
from segpipe.inference.engines.engine import Engine
from segpipe.inference.findings import ClassComponents
from segpipe.inference.options import PredictOptions
from segpipe.inference.painting import Painting
from segpipe.inference.postprocess import choose_findings
from segpipe.inference.prompts.correction import follow_prompt
from segpipe.inference.prompts.prompt import Prompt, check_prompt, check_scope
from segpipe.inference.second_stage import SecondStage
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.window.aggregator import Aggregator
from segpipe.inference.window.grid import InferenceGrid, Point, choose_grid
from segpipe.inference.window.region import crop_to_lungs, in_reach
from segpipe.inference.window.wider import LEAST_FILLING, LEAST_SECTION, cut_section, filling, middle_mm, wider_views
from segpipe.lesions import find_components
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.preprocessing.resampling import plan_preparation

Boxes = Sequence[NDArray[np.float32]]
Place = tuple[tuple[float, float, float], Point | None]
"""Spacing of the voxels that are looked through, and where."""
Memory = MutableMapping[Place, Boxes]
"""Place → what the network says there, see `Aggregator.boxes`."""
LEAST_AGREEMENT = 0.7
"""Dice of two looks at one part of a scan, of which the coarser one can be trusted."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What one look at a scan shows.

    Args:
        painting: What was painted, and on which grid.
        boxes: What the network says, if it is kept; see `Aggregator`.
        aggregator: Holds the mask.
        chosen: Its findings.
    """

    painting: Painting
    boxes: Boxes
    aggregator: Aggregator
    chosen: list[ClassComponents]

    @property
    def inference_grid(self) -> InferenceGrid:
        """The box that was looked at."""
        return self.painting.inference_grid

    @property
    def voxels(self) -> int:
        """Of the foreground."""
        return int(np.count_nonzero(self.aggregator.mask[self.aggregator.box]))

    @property
    def is_whole(self) -> bool:
        """Whether there is a lesion and the window holds all of it, but for a vessel that runs on."""
        return self.voxels > 0 and cut_section(self.aggregator.mask, self.inference_grid.scan_box) < LEAST_SECTION

    @property
    def is_small(self) -> bool:
        """Whether the lesion is too small for coarser voxels."""
        return filling(self.aggregator.mask, self.inference_grid.scan_box) < LEAST_FILLING

    def confirms(self, other: "Seen") -> bool:
        """Whether it shows the same in the other's window; what is new there would be a wall or a vessel."""
        own, others = (one.aggregator.mask[other.inference_grid.scan_box] > 0 for one in (self, other))
        both, either = np.count_nonzero(own & others), np.count_nonzero(own) + np.count_nonzero(others)
        return not others.any() or bool(2 * both >= LEAST_AGREEMENT * either)


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a scan is looked at with a model.

    Args:
        case: The scan.
        recipe: How the network wants scans.
        engine: Runs the network.
        options: See `PredictOptions`.
        divisor: What the network's input shape must be a multiple of.
        timer: Receives the time per stage and how far the scan is.
        memory: Where the network's answers are kept, so that it is not asked twice; no answer depends on it.
    """

    case: Case
    recipe: Recipe
    engine: Engine
    options: PredictOptions
    divisor: Shape
    timer: StageTimer
    memory: Memory = field(default_factory=dict)

    def once(self) -> Seen:
        """Looks at the whole scan, or at a crop around a lesion."""
        at_mm = [_middle(self.case)] if self.recipe.scope == "voi" else []
        return self._through(self.recipe, at_mm=at_mm)

    def follow(self, prompt: Prompt) -> Seen:
        """Looks at the lesion that a prompt describes, and corrects what the network says of it.

        Raises:
            ConfigError: for a prompt of more than a point and a model of whole scans.
            GeometryError: when the prompt does not fit the scan, or no window holds it.
        """
        seen = self.around(prompt)
        return seen if prompt.is_point else self.correct(seen, prompt)

    def around(self, prompt: Prompt) -> Seen:
        """Looks at the lesion that a prompt describes.

        Raises:
            ConfigError: for a prompt of more than a point and a model of whole scans.
            GeometryError: when the prompt does not fit the scan, or no window holds it.
        """
        if prompt.is_point and self.recipe.scope == "scan":
            return self._through(self.recipe, at_mm=[prompt.centre], around_mm=prompt.centre)
        check_scope(prompt, self.recipe)
        check_prompt(prompt, self.case.grid)
        seen = self._at_box(prompt) if prompt.box else self._until_whole(prompt)
        if not prompt.is_point and not seen.inference_grid.holds(prompt.extent):
            longest = max(np.multiply(seen.inference_grid.size, seen.inference_grid.preparation.grid.spacing_mm))
            raise GeometryError(
                "a prompt must fit into the widest window",
                facts={"window": f"{longest:.0f} mm", "prompt": prompt.to_dict()},
                hint="give points of one lesion",
            )
        return seen

    def correct(self, seen: Seen, prompt: Prompt) -> Seen:
        """Paints what was seen as the prompt corrects it; a reader, not the operating point, says what is a finding."""
        grid, labels, point = seen.inference_grid, self.recipe.label_map, self.options.point
        with self.timer.stage("correction"):
            image_hu = self.case.image[grid.scan_box]
            thresholds = [point.of(label.name).threshold for label in labels.classes]
            classes, doubts = seen.boxes[: len(thresholds)], seen.boxes[len(thresholds) :]
            boxes = follow_prompt(classes, image_hu, grid.covered, prompt, thresholds=thresholds, labels=labels)
            aggregator = seen.painting.repaint([*boxes, *doubts])
            at_mm = prompt.inside or [prompt.centre]
            chosen = choose_findings(
                aggregator, grid.preparation, labels=labels, point=point.of_any_size(), at_mm=at_mm
            )
        return replace(seen, aggregator=aggregator, chosen=chosen)

    def _at_box(self, prompt: Prompt) -> Seen:
        """Looks at the middle of a box, through the finest voxels with which the window holds it."""
        views = list(wider_views(self.recipe))
        grids = [self._grid(view, prompt.centre) for view in views]
        fitting = [view for view, grid in zip(views, grids, strict=True) if grid.holds(prompt.extent)]
        return self._through(fitting[0] if fitting else views[-1], at_mm=[prompt.centre], around_mm=prompt.centre)

    def _until_whole(self, prompt: Prompt) -> Seen:
        """Looks at a lesion until the window holds all of it: from its middle, then through ever coarser voxels.

        A small lesion is looked at from its middle alone. In the midst of a large one a window may show nothing. Where
        no look shows the lesion whole, the one that shows most counts, among those that hold what the prompt says and
        confirm the one before.
        """
        extent = () if prompt.is_point else prompt.extent
        around_mm, at_mm = prompt.centre, [prompt.centre]
        first = most = seen = self._through(self.recipe, at_mm=at_mm, around_mm=around_mm)
        for view in wider_views(self.recipe):
            holds = seen.inference_grid.holds(extent)
            if not holds:
                around_mm = _between(extent)
            elif seen.voxels:
                if seen.is_whole or (seen is not first and seen.is_small):
                    return seen
                around_mm = middle_mm(
                    find_components(seen.aggregator.mask, within=seen.aggregator.box).box, self.case.grid
                )
            seen = self._through(view, at_mm=at_mm, around_mm=around_mm)
            if not holds or seen.is_whole or seen.confirms(most):
                most = max(most, seen, key=lambda one: (one.inference_grid.holds(extent), one.is_whole, one.voxels))
        return most

    def _through(self, recipe: Recipe, *, at_mm: Sequence[Point], around_mm: Point | None = None) -> Seen:
        """Looks through the voxels of a recipe, at the scan or around a point; keeps the lesion at the points."""
        inference_grid = self._grid(recipe, around_mm)
        if recipe.lung_crop and recipe.scope == "scan":
            inference_grid = crop_to_lungs(inference_grid, self.case)
        keep_box = recipe.scope == "voi" and around_mm is not None
        stage: SecondStage | None = getattr(self.engine, "second_stage", None)
        options = replace(self.options, keep_probability=True) if stage else self.options
        region = self._region(recipe)
        painting = Painting(self.case, recipe, self.engine, options, inference_grid, self.timer, keep_box, region)
        known = self.memory.get((recipe.spacing_mm, around_mm))
        aggregator = painting.repaint(known) if known else painting.paint()
        self.memory[recipe.spacing_mm, around_mm] = aggregator.boxes
        if region and recipe.lung_crop and not at_mm:  # a reader who points at a lesion knows that there is one
            with self.timer.stage("region"):
                aggregator.confine(in_reach(region, aggregator.mask, self.case.grid, aggregator.box))
        if stage:
            with self.timer.stage("second stage"):
                aggregator.revise(partial(stage.revise, self.case))
        with self.timer.stage("findings"):
            chosen = choose_findings(
                aggregator, inference_grid.preparation,
                labels=recipe.label_map, point=self.options.point, at_mm=at_mm,
            )  # fmt: skip
        return Seen(painting, aggregator.boxes, aggregator, chosen)

    def _region(self, recipe: Recipe) -> Volume | None:
        find = self.options.region if recipe.scope == "scan" else None
        with self.timer.stage("region"):
            return find(self.case) if find else None

    def _grid(self, recipe: Recipe, around_mm: Point | None) -> InferenceGrid:
        preparation = plan_preparation(self.case.grid, recipe)
        window = getattr(self.engine, "window", None)
        return choose_grid(preparation, recipe, self.divisor, at_mm=around_mm, window=window)


def _between(points: Sequence[Point]) -> Point:
    """The middle of the box around points."""
    x, y, z = ((min(values) + max(values)) / 2 for values in zip(*points, strict=True))
    return x, y, z


def _middle(case: Case) -> Point:
    x, y, z = to_world(case.grid.affine, [(count - 1) / 2 for count in case.grid.shape])
    return float(x), float(y), float(z)
