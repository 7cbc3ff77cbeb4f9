"""References that are spheres around marked nodules (LUNA16), not outlines: found or missed, nothing in between."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from segpipe.evaluation.measures.overlap import OVERLAP_FIGURES
from segpipe.evaluation.measures.surface import SURFACE_FIGURES
from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion


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
    return replace(result, figures=figures, lesions=tuple(lesions), candidates=tuple(candidates))


def outlined(results: Sequence[CaseResult]) -> list[CaseResult]:
    """The cases whose reference is an outline."""
    return [result for result in results if not is_sphere(result.extra)]


def _matched(lesion: ReferenceLesion, candidate: PredictedLesion | None) -> ReferenceLesion:
    number, probability = (candidate.number, candidate.probability) if candidate else (None, None)
    return replace(lesion, matched=number, overlap=None, probability=probability)
