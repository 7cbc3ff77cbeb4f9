"""Several classes of one case: each is evaluated for itself, and all of them as one foreground."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.evaluate import evaluate_pair
from segpipe.evaluation.results import CaseResult
from segpipe.geometry import Grid
from segpipe.labels import LabelMap, look_up


def evaluate_label_maps(
    case_id: str,
    patient: str,
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    grid: Grid,
    *,
    labels: LabelMap,
    probability: Sequence[NDArray[np.floating]] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> CaseResult:
    """Compares a predicted label map with a reference, both (x, y, z) on the scan's own grid.

    Voxels that the reference ignores count as background on both sides.

    Args:
        case_id: Name of the case.
        patient: Name of its patient.
        masks: Prediction and reference.
        grid: The scan's own grid.
        labels: The classes, and the value that the reference ignores.
        probability: Of each class in each voxel; gives each predicted lesion its confidence.
        extra: Further facts of the case, for strata.

    Returns:
        The figures of the foreground of all classes together; those of each class for itself are its `classes`. With a
        single class there are only these figures.

    Raises:
        GeometryError: when an array has another shape than the grid.
    """
    prediction, reference = _without_ignored(masks, labels.ignore)

    def evaluate(number: int) -> CaseResult:
        known = None if probability is None else probability[number]
        own = (labels.class_mask(prediction, number), labels.class_mask(reference, number))
        return evaluate_pair(case_id, patient, *own, grid, probability=known, extra=extra)

    if len(labels.classes) == 1:
        return evaluate(0)
    members = np.any([labels.member_table(number) for number in range(len(labels.classes))], axis=0)
    together = None if probability is None else _together(probability, labels)
    any_class = (look_up(members, prediction), look_up(members, reference))
    pooled = evaluate_pair(case_id, patient, *any_class, grid, probability=together, extra=extra)
    return replace(pooled, classes={label.name: evaluate(number) for number, label in enumerate(labels.classes)})


def _without_ignored(
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8]], ignore: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    prediction, reference = masks
    if ignore is None:
        return prediction, reference
    counted = reference != ignore
    return prediction * counted, reference * counted


def _together(probability: Sequence[NDArray[np.floating]], labels: LabelMap) -> NDArray[np.floating]:
    """Of any class: the sum where classes exclude each other, that of the outermost where they are nested regions."""
    return np.sum(probability, axis=0) if labels.exclusive else probability[0]
