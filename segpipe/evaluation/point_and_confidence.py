"""What a model decides by, and how sure it is: learnt from cases that the network has not learnt from."""

import logging
from collections.abc import Sequence
from typing import Any

from segpipe.evaluation.calibration.fitting import fit_confidence
from segpipe.evaluation.detection.operating_point_search import at_point, choose_operating_points
from segpipe.evaluation.results import CaseResult
from segpipe.preprocessing.recipe import Recipe

log = logging.getLogger(__name__)


def choose_point_and_confidence(
    results: Sequence[CaseResult],
    recipe: Recipe,
    *,
    tunes: bool,
    threshold: float = 0.5,
    kind: str = "validation cases",
) -> dict[str, Any]:
    """The operating point as a model folder has it, with what is known of the confidence of findings there.

    Args:
        results: Cases that the network has not learnt from, evaluated with probabilities and no filter.
        recipe: Its scope and labels; only a search of whole scans filters what it finds.
        tunes: Whether an operating point is chosen at all.
        threshold: The voxel threshold with which `results` were predicted.
        kind: What cases they are, in words.
    """
    tunes = tunes and recipe.scope == "scan"
    names = [label.name for label in recipe.label_map.classes]
    point = choose_operating_points(results if tunes else [], names, threshold=threshold, kind=kind)
    for name, of_class in point.get("classes", {"": point}).items() if tunes else ():
        log.info("operating point%s: %s", f" of {name}" if name else "", of_class["origin"])
    if tunes and not results:
        log.info("every finding is shown, false ones, too; data.fold=all chooses a point on what its folds hold out")
    shown = [at_point(result, point) for result in results]
    confidence = fit_confidence(shown, origin=f"fitted on {len(shown)} {kind}")
    return {**point, **({"confidence": confidence} if confidence else {})}
