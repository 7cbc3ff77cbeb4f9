"""One scan in, one prediction out: look, choose findings, measure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.errors import ModelError
from segpipe.inference.confidence import Confidence
from segpipe.inference.engines.engine import Engine
from segpipe.inference.explanation.explanation import Explanation
from segpipe.inference.findings import Finding, measure_findings
from segpipe.inference.look import Look
from segpipe.inference.options import PredictOptions
from segpipe.inference.prompts.prompt import Prompt
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.uncertainty.figures import add_uncertainty
from segpipe.inference.window.grid import Point
from segpipe.inference.window.uncertainty_maps import UncertaintyMaps
from segpipe.preprocessing.recipe import Recipe, Shape


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network found in a scan.

    Args:
        mask: Label map, uint8, on the scan's own grid.
        findings: The mask's lesions, class by class, in each largest first; none when they were not measured.
        probabilities: Of each class, float32 on the scan's own grid before the threshold; empty when not kept. Behind a
            second stage those of its candidates, see `SecondStage.revise`.
        uncertainty: How sure the network is of each voxel, or None when it was not asked.
        explanations: What its findings rest on, if that was asked for.
    """

    mask: NDArray[np.uint8]
    findings: list[Finding]
    probabilities: Sequence[NDArray[np.float32]] = ()
    uncertainty: UncertaintyMaps | None = None
    explanations: Sequence[Explanation] = ()

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
    at_mm: Point | Prompt | None = None,
    timer: StageTimer | None = None,
) -> Prediction:
    """Predicts one scan.

    A recipe of scope `scan` searches the whole scan; with `at_mm` only the component at (or nearest to) that point is
    kept. One of scope `voi` segments the lesion at `at_mm`, or in the middle of the image when there is no point, and
    always keeps one component. A lesion at a point that its window cuts is predicted again, from its middle and then
    through coarser voxels. What else a prompt says corrects the network's answer; see `follow_prompt`.

    Args:
        case: The scan.
        recipe: How the network wants scans.
        engine: Runs the network.
        options: See `PredictOptions`.
        divisor: What the network's input shape must be a multiple of.
        at_mm: A point in the scan, RAS+ mm, or more that a reader says of the lesion.
        timer: Receives the time per stage and how far the scan is.

    Raises:
        GeometryError: when a point is outside the scan.
        ConfigError: for a prompt of more than a point, when the recipe's scope is not `voi`.
        ImageError: when a whole scan comes to a VOI model without a point.
        ModelError: when there are more findings than the options allow.
    """
    timer = timer or StageTimer()
    look = Look(case=case, recipe=recipe, engine=engine, options=options, divisor=divisor, timer=timer)
    seen = look.once() if at_mm is None else look.follow(Prompt.of(at_mm))
    _check_count(sum(len(found.kept) for found in seen.chosen), options.most_findings)
    with timer.stage("findings"):
        findings = measure_findings(case, seen.chosen, seen=seen.inference_grid.scan_box) if options.measure else []
        maps = seen.aggregator.maps
        if maps and options.measure:
            findings = add_uncertainty(findings, seen.aggregator.mask, maps, recipe.label_map)
        confidence = Confidence.of(options.confidence)
        if confidence and not (
            isinstance(at_mm, Prompt) and not at_mm.is_point
        ):  # a reader's corrections are not its own
            findings = confidence.add_to(findings)
    probabilities = seen.aggregator.probabilities if options.keep_probability else ()
    return Prediction(seen.aggregator.mask, findings, probabilities, maps)


def _check_count(count: int, most: int | None) -> None:
    if most is not None and count > most:
        raise ModelError(
            f"a scan must have at most {most:,} findings",
            facts={"found": f"{count:,}"},
            hint="the model has not learned its task, or the scan is not what it knows; --threshold and --min-volume "
            "leave fewer",
        )
