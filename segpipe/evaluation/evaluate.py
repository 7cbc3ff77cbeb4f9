"""From a pair of masks to the figures of a case; the one way in which segpipe evaluates a mask."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import GeometryError
from segpipe.evaluation.calibration.voxels import count_voxels
from segpipe.evaluation.detection.detections import detect
from segpipe.evaluation.detection.matching import find_lesions, match_lesions
from segpipe.evaluation.detection.spheres import evaluate_by_centre, is_sphere
from segpipe.evaluation.measures.foreground_crops import find_foreground_crops
from segpipe.evaluation.measures.overlap import count_overlap
from segpipe.evaluation.measures.surface import surface_figures
from segpipe.evaluation.results import CaseResult
from segpipe.evaluation.summary import summarise
from segpipe.evaluation.tables import write_evaluation
from segpipe.geometry import Grid

__all__ = ["CaseResult", "evaluate_pair", "summarise", "write_evaluation"]


def evaluate_pair(
    case_id: str,
    patient: str,
    prediction_mask: NDArray[np.generic],
    reference_mask: NDArray[np.generic],
    grid: Grid,
    *,
    probability: NDArray[np.floating] | None = None,
    searched: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> CaseResult:
    """Evaluates a predicted mask against a reference mask, both (x, y, z) on the scan's own grid.

    Args:
        case_id: Name of the case.
        patient: Name of its patient.
        prediction_mask: Foreground where not 0.
        reference_mask: Foreground where not 0.
        grid: The scan's own grid.
        probability: Foreground probability of each voxel; gives each predicted lesion its confidence.
        searched: Whether lesions were searched for in the whole scan: then the candidates of the FROC are those of the
            probability, whatever the mask shows of them. Else, as around a given point, they are the mask's lesions.
        extra: Further facts of the case, e.g. texture; kept for strata. Where they speak of a `sphere` the reference
            is no outline: lesions are matched by centre, and figures of voxels and surfaces are undefined.

    Raises:
        GeometryError: when an array has another shape than the grid.
    """
    for name, array in (("prediction", prediction_mask), ("reference", reference_mask), ("probability", probability)):
        if array is not None and array.shape != grid.shape:
            raise GeometryError(
                f"the {name} must have the shape of the scan",
                facts={"case": case_id, name: "×".join(map(str, array.shape)), "scan": grid},
            )
    crops = find_foreground_crops(prediction_mask, reference_mask, grid)
    overlap = count_overlap(crops)
    reference = find_lesions([crop.reference for crop in crops], crops)
    lesions, candidates = match_lesions(
        find_lesions([crop.prediction for crop in crops], crops),
        reference,
        probability=None if probability is None else [probability[crop.box] for crop in crops],
    )
    result = CaseResult(
        case=case_id,
        patient=patient,
        empty=overlap.empty,
        figures={**overlap.figures(), **surface_figures(crops, grid)},
        reference_mm3=(overlap.tp + overlap.fn) * grid.voxel_volume_mm3,
        predicted_mm3=(overlap.tp + overlap.fp) * grid.voxel_volume_mm3,
        lesions=lesions,
        candidates=candidates,
        detections=None if probability is None or not searched else detect(probability, reference, crops, grid),
        extra=extra,
        voxels=None if probability is None else count_voxels(probability, crops, grid),
    )
    return evaluate_by_centre(result) if is_sphere(extra) else result
