"""Several classes of one case: each is evaluated for itself, and all of them as one foreground."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
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
    searched: bool = True,
    extra: Mapping[str, Any] | None = None,
) -> CaseResult:
    """Compares a predicted label map with a reference, both (x, y, z) on the scan's own grid.

    Voxels that the reference ignores count as background on both sides, and have no probability.

    Args:
        case_id: Name of the case.
        patient: Name of its patient.
        masks: Prediction and reference.
        grid: The scan's own grid.
        labels: The classes, and the value that the reference ignores.
        probability: Of each class in each voxel; see `evaluate_pair`.
        searched: Whether lesions were searched for in the whole scan; see `evaluate_pair`.
        extra: Further facts of the case, for strata.

    Returns:
        The figures of the foreground of all classes together; those of each class for itself are its `classes`. With a
        single class there are only these figures.

    Raises:
        GeometryError: when an array has another shape than the grid.
    """
    prediction, reference = masks
    if labels.ignore is not None:
        counted = reference != labels.ignore
        prediction, reference = prediction * counted, reference * counted
        probability = None if probability is None else [volume * counted for volume in probability]
    case = partial(evaluate_pair, case_id, patient, grid=grid, searched=searched, extra=extra)

    def evaluate(number: int) -> CaseResult:
        known = None if probability is None else probability[number]
        own = (labels.class_mask(prediction, number), labels.class_mask(reference, number))
        return case(*own, probability=known)

    if len(labels.classes) == 1:
        return evaluate(0)
    members = np.any([labels.member_table(number) for number in range(len(labels.classes))], axis=0)
    together = None if probability is None else _together(probability, labels)
    any_class = (look_up(members, prediction), look_up(members, reference))
    pooled = case(*any_class, probability=together)
    return replace(pooled, classes={label.name: evaluate(number) for number, label in enumerate(labels.classes)})


def _together(probability: Sequence[NDArray[np.floating]], labels: LabelMap) -> NDArray[np.floating]:
    """Of any class: the sum where classes exclude each other, that of the outermost where they are nested regions."""
    return np.sum(probability, axis=0) if labels.exclusive else probability[0]
