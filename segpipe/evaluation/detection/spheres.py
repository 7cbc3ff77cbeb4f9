"""References that are spheres around marked nodules (LUNA16), not outlines: found or missed, nothing in between."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from segpipe.evaluation.measures.overlap import OVERLAP_FIGURES
from segpipe.evaluation.measures.surface import SURFACE_FIGURES
from segpipe.evaluation.results import CaseResult, Detection, PredictedLesion, ReferenceLesion


def is_sphere(extra: Mapping[str, Any] | None) -> bool:
    """Whether the facts of a case say that its reference mask shows spheres."""
    return bool((extra or {}).get("sphere"))


def evaluate_by_centre(result: CaseResult) -> CaseResult:
    """The same case without any figure of voxels or surfaces, its lesions matched by centre alone.

    A lesion belongs to the most confident candidate (without confidences: the largest) whose centre lies within its
    radius and that no larger lesion has taken; its overlap is not known.

    Source:
        Setio et al., LUNA16, Medical Image Analysis 42 (2017).
    """
    candidates = [replace(candidate, matched=None, overlap=0.0) for candidate in result.candidates]
    lesions = []
    for lesion in result.lesions:
        inside = [index for index, one in enumerate(candidates) if lesion.number in one.hits and one.matched is None]
        best = min(inside, key=lambda index: -(candidates[index].probability or 0.0), default=None)
        if best is not None:
            candidates[best] = replace(candidates[best], matched=lesion.number)
        lesions.append(_matched(lesion, candidates[best] if best is not None else None))
    figures = dict.fromkeys((*OVERLAP_FIGURES, *SURFACE_FIGURES))
    detections = None if result.detections is None else tuple(_by_centre(result.detections))
    seen = replace(result, lesions=tuple(lesions), candidates=tuple(candidates), detections=detections)
    return replace(seen, figures=figures, voxels=None)


def outlined(results: Sequence[CaseResult]) -> list[CaseResult]:
    """The cases whose reference is an outline."""
    return [result for result in results if not is_sphere(result.extra)]


def _by_centre(detections: Sequence[Detection]) -> Iterator[Detection]:
    """Detections, most confident first, each with the largest lesion around its centre that none before it has."""
    taken: set[int] = set()
    for detection in detections:
        free = [number for number in detection.hits if number not in taken]
        taken.update(free[:1])
        yield replace(detection, matched=free[0] if free else None)


def _matched(lesion: ReferenceLesion, candidate: PredictedLesion | None) -> ReferenceLesion:
    number, probability = (candidate.number, candidate.probability) if candidate else (None, None)
    return replace(lesion, matched=number, overlap=None, probability=probability)
