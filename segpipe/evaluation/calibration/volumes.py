"""Between which volumes a lesion lies, given the volume that was found: intervals with a stated coverage."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.calibration.findings import EvaluatedFindings
from segpipe.geometry import FloatArray

COVERAGE = 0.9
FROM_MM3 = (0.0, 113.0, 268.0, 1767.0)
"""Where classes of size begin: spheres of 6, 8 and 15 mm, as in the guidelines that measure growth."""
FEWEST_PATIENTS = 50
"""Of a class of its own; a smaller one joins its neighbour. One in twenty must be more than a patient or two."""


def fit_volume(findings: EvaluatedFindings) -> dict[str, Any] | None:
    """For each class of found volume the interval of reference volume / found volume; None with too few patients.

    Split conformal prediction with the signed log ratio as the score, each tail at half of the error, and patients as
    what is exchanged: all nodules of a patient together weigh as much as one of a patient with a single one. Of a
    lesion of a new patient, drawn from that patient's, the interval misses at most `1 − COVERAGE`.

    Args:
        findings: Of cases that the model was not trained on; those that match no lesion say nothing and are left out.

    Source:
        Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World (2005), with classes as taxonomy; Lee, Barber
        and Willett, Distribution-free inference with hierarchical data, arXiv 2306.06342, for the weights.
    """
    matched = np.isfinite(findings.reference_mm3)
    found_mm3 = findings.volume_mm3[matched]
    ratio = np.log(findings.reference_mm3[matched] / found_mm3)
    patients = np.asarray(findings.patients)[matched]
    begins = choose_classes(found_mm3, patients)
    if not begins:
        return None
    number = class_of(found_mm3, begins)
    classes = [_interval(ratio[number == n], patients[number == n], begin) for n, begin in enumerate(begins)]
    return {"coverage": COVERAGE, "classes": classes}


def choose_classes(found_mm3: FloatArray, patients: NDArray[np.str_]) -> list[float]:
    """Where the classes begin, each with at least `FEWEST_PATIENTS`; none where all together are too few."""
    begins: list[float] = []
    ends = [*FROM_MM3[1:], np.inf]
    start = FROM_MM3[0]
    for end in ends:
        inside = (found_mm3 >= start) & (found_mm3 < end)
        if len(set(patients[inside])) >= FEWEST_PATIENTS:
            begins.append(start)
            start = end
    return begins  # what is left over at the end belongs to the last class


def class_of(found_mm3: FloatArray, begins: Sequence[float]) -> NDArray[np.int64]:
    """The number of the class of each volume."""
    return np.asarray(np.searchsorted(begins, found_mm3, side="right") - 1)


def patient_quantile(scores: FloatArray, patients: NDArray[np.str_], level: float) -> float:
    """The quantile of the scores in which each patient has the weight of one, and one more patient an infinite score.

    >>> patient_quantile(np.array([1.0, 2.0, 3.0, 4.0]), np.array(["a", "b", "c", "c"]), 0.6)
    3.0
    """
    names, owner, counts = np.unique(patients, return_inverse=True, return_counts=True)
    weights = 1 / (counts[owner] * (len(names) + 1))
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order]) >= level - 1e-12
    return float(scores[order][reached.argmax()]) if reached.any() else float("inf")


def _interval(ratio: FloatArray, patients: NDArray[np.str_], begin: float) -> dict[str, Any]:
    level = 1 - (1 - COVERAGE) / 2
    low, high = -patient_quantile(-ratio, patients, level), patient_quantile(ratio, patients, level)
    return {
        "from_mm3": begin,
        "low": float(np.exp(low)),
        "high": float(np.exp(high)),
        "findings": len(ratio),
        "patients": len(set(patients.tolist())),
    }
