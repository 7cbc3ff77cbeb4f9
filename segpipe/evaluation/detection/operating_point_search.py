"""Which predicted lesions a reader gets to see: chosen on validation cases, carried by the model folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from segpipe.evaluation.detection.froc import collect_marks, froc_curve
from segpipe.evaluation.results import CaseResult

VOLUMES_MM3 = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 50.0)
LONGEST_TABLE = 50
FEWEST_LESIONS = 5
"""With fewer lesions to choose on, one lesion decides what all patients' readers get to see."""


def choose_operating_points(
    results: Sequence[CaseResult], classes: Sequence[str], *, threshold: float = 0.5, kind: str = "validation cases"
) -> dict[str, Any]:
    """The operating point; of several classes one for each, under `classes`.

    Args:
        results: See `choose_operating_point`.
        classes: Their names.
        threshold: See `choose_operating_point`.
        kind: See `choose_operating_point`.
    """
    choose = partial(choose_operating_point, threshold=threshold, kind=kind)
    if len(classes) == 1:
        return choose(results)
    return {"classes": {name: choose([result.classes[name] for result in results]) for name in classes}}


def choose_operating_point(
    results: Sequence[CaseResult], *, threshold: float = 0.5, kind: str = "validation cases"
) -> dict[str, Any]:
    """Chooses the smallest volume and the lowest confidence of a lesion that give the best lesion F1.

    A lesion's confidence is the mean foreground probability over its voxels, where voxels count from a probability of
    `threshold`. Of equally good points the one that keeps more candidates is taken. Volumes come from a short fixed
    list, up to that of a 4.6 mm sphere, since a finer search would fit the validation cases and no others.

    Args:
        results: Cases that the network has not learnt from, evaluated with probabilities and no filter; with fewer than
            `FEWEST_LESIONS` lesions nothing is filtered.
        threshold: The voxel threshold with which `results` were predicted.
        kind: What cases they are.

    Returns:
        `threshold` (of voxels), `min_volume_mm3` and `min_probability` (of lesions), and `froc`: points of the FROC
        by overlap after the volume filter, each with `threshold` (of a lesion's confidence), `sensitivity` and
        `fp_per_scan`; `origin` says in words what the point was chosen on.
    """
    lesions = sum(len(result.lesions) for result in results)
    if lesions < FEWEST_LESIONS or collect_marks([_filtered(each, 0.0) for each in results], "overlap") is None:
        return {
            "threshold": threshold,
            "min_volume_mm3": 0.0,
            "min_probability": 0.0,
            "froc": froc_table(results),
            "origin": _why_default(len(results), lesions, kind),
        }
    choices = [(*_best_confidence(results, volume, lesions), volume) for volume in VOLUMES_MM3]
    best = max(choice[0] for choice in choices)
    _, probability, volume = next(choice for choice in choices if choice[0] >= best - 1e-9)
    return {
        "threshold": threshold,
        "min_volume_mm3": volume,
        "min_probability": probability,
        "froc": froc_table(results, min_volume_mm3=volume),
        "origin": f"chosen on {lesions} lesions of {len(results)} {kind}",
    }


def froc_table(results: Sequence[CaseResult], *, min_volume_mm3: float = 0.0) -> list[dict[str, float]]:
    """At most 50 points of the FROC by overlap, from the strictest to the most sensitive; empty without confidences."""
    marks = collect_marks([_filtered(result, min_volume_mm3) for result in results], "overlap")
    if marks is None or not marks.lesions.sum():
        return []
    curve = froc_curve(marks)
    chosen = np.unique(np.linspace(0, len(curve.threshold) - 1, LONGEST_TABLE).round().astype(int))
    return [
        {
            "threshold": float(curve.threshold[point]),
            "sensitivity": float(curve.sensitivity[point]),
            "fp_per_scan": float(curve.fp_per_scan[point]),
        }
        for point in chosen
        if len(curve.threshold)
    ]


def at_point(result: CaseResult, point: Mapping[str, Any]) -> CaseResult:
    """A case with the lesions that an operating point shows as findings; of several classes each has its own point.

    Args:
        result: As predicted with the point's threshold.
        point: What `choose_operating_point` chose, or `classes` of such.
    """
    if result.classes:
        points = point.get("classes", {})
        classes = {name: at_point(own, points.get(name, point)) for name, own in result.classes.items()}
        return replace(result, classes=classes)
    large = _filtered(result, point.get("min_volume_mm3", 0.0)).candidates
    kept = [one for one in large if one.probability is None or one.probability >= point.get("min_probability", 0.0)]
    return replace(result, candidates=tuple(kept))


def _why_default(cases: int, lesions: int, kind: str) -> str:
    if not cases:
        return "default: not chosen on any case"
    if lesions < FEWEST_LESIONS:
        few = f"{lesions} lesions in {cases} {kind} are too few to choose on"
        return f"default: {few} (at least {FEWEST_LESIONS} are needed)"
    return f"default: the {kind} hold no confidences"


def _best_confidence(results: Sequence[CaseResult], volume: float, lesions: int) -> tuple[float, float]:
    """The best lesion F1 after a volume filter and the lowest confidence that reaches it (0 when all may stay)."""
    marks = collect_marks([_filtered(result, volume) for result in results], "overlap")
    if marks is None or not len(marks.confidence):
        return 0.0, 0.0
    curve = froc_curve(marks)
    f1 = 2 * curve.tp / (curve.tp + curve.fp + lesions)
    last = int(np.flatnonzero(f1 >= f1.max() - 1e-9)[-1])
    everything = last == len(f1) - 1
    return float(f1[last]), 0.0 if everything else float(curve.threshold[last])


def _filtered(result: CaseResult, min_volume_mm3: float) -> CaseResult:
    """A case with the larger lesions of its mask alone, which an operating point is chosen for."""
    kept = tuple(candidate for candidate in result.candidates if candidate.volume_mm3 >= min_volume_mm3)
    return replace(result, candidates=kept, detections=None)
