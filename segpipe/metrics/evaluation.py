"""From a pair of masks to the figures of a case; the one way in which segpipe judges a mask."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import GeometryError
from segpipe.geometry import Grid, to_world
from segpipe.metrics.detection import find_components, match_lesions
from segpipe.metrics.overlap import count_overlap
from segpipe.metrics.results import CaseResult
from segpipe.metrics.summary import summarise
from segpipe.metrics.tables import write_evaluation

__all__ = ["CaseResult", "evaluate_pair", "summarise", "write_evaluation"]


@dataclass(frozen=True, eq=False)
class _Crop:
    """What both masks and the probability hold inside the box of their union."""

    prediction: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    grid: Grid
    probability: NDArray[np.floating] | None


def evaluate_pair(
    case_id: str,
    patient: str,
    prediction_mask: NDArray[np.generic],
    reference_mask: NDArray[np.generic],
    grid: Grid,
    *,
    probability: NDArray[np.floating] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> CaseResult:
    """Judges a predicted mask against a reference mask, both (x, y, z) on the scan's own grid.

    Everything is computed inside the box that holds both masks; components are found once.

    Args:
        case_id: Name of the case.
        patient: Name of its patient.
        prediction_mask: Foreground where greater than 0.
        reference_mask: Foreground where greater than 0.
        grid: The scan's own grid.
        probability: Foreground probability of each voxel; gives each predicted lesion its confidence.
        extra: Further facts of the case, e.g. texture; kept for strata.

    Raises:
        GeometryError: when an array has another shape than the grid.
    """
    for name, array in (("prediction", prediction_mask), ("reference", reference_mask), ("probability", probability)):
        if array is not None and array.shape != grid.shape:
            raise GeometryError(
                f"the {name} must have the shape of the scan",
                facts={"case": case_id, name: "×".join(map(str, array.shape)), "scan": grid},
            )
    crop = _crop(np.greater(prediction_mask, 0), np.greater(reference_mask, 0), grid, probability)
    overlap = count_overlap(crop.prediction, crop.reference)
    lesions, candidates = match_lesions(
        find_components(crop.prediction, crop.grid),
        find_components(crop.reference, crop.grid),
        probability=crop.probability,
    )
    return CaseResult(
        case=case_id,
        patient=patient,
        empty=overlap.empty,
        figures=overlap.figures(),
        reference_mm3=(overlap.tp + overlap.fn) * grid.voxel_volume_mm3,
        predicted_mm3=(overlap.tp + overlap.fp) * grid.voxel_volume_mm3,
        lesions=lesions,
        candidates=candidates,
        extra=extra,
    )


def _crop(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    grid: Grid,
    probability: NDArray[np.floating] | None,
) -> _Crop:
    box = _box(prediction | reference)
    affine = grid.affine.copy()
    affine[:3, 3] = to_world(grid.affine, [axis.start for axis in box])
    cropped = prediction[box]
    x, y, z = cropped.shape
    return _Crop(
        cropped, reference[box], Grid((x, y, z), affine), probability[box] if probability is not None else None
    )


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Slices that hold all foreground; one voxel when there is none."""
    slices = [slice(0, 1)] * 3
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        if len(inside):
            slices[axis] = slice(int(inside[0]), int(inside[-1]) + 1)
    return slices[0], slices[1], slices[2]
