"""Sensitivity along the FROC by diameter of the lesion; a false positive has no true size, so all count in each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.detection.froc import FP_RATES, Marks
from segpipe.geometry import FloatArray

MOST_COUNTS = 2**20
"""Marks times rows of weights at once: 8 MiB."""
FIRST_TRIED = 64
"""False positives; twice as many as long as they do not reach the largest rate."""


def sensitivity_by_diameter(
    marks: Marks, weights: FloatArray, rates: Sequence[float] | FloatArray = FP_RATES
) -> FloatArray:
    """Sensitivity in each stratum of diameters at rates of false positives per scan, for each row of weights.

    The curve of each stratum is that of `Curve.sensitivity_at` with the true positives of the stratum and all false
    positives, so that the mean over strata, weighted by their lesions, is the sensitivity of the whole.

    Args:
        marks: The candidates.
        weights: How often each case counts, (rows, cases).
        rates: False positives per scan, (n,).

    Returns:
        (rows, strata, n); NaN where a stratum has no lesion.
    """
    rows = max(1, MOST_COUNTS // max(1, len(marks.case)))
    parts = [weights[start : start + rows] for start in range(0, len(weights), rows)]
    return np.concatenate([_sensitivity(marks, part, np.asarray(rates)) for part in parts])


def _sensitivity(marks: Marks, weights: FloatArray, rates: FloatArray) -> FloatArray:
    limits = weights.sum(axis=1)[:, np.newaxis, np.newaxis] * rates[:, np.newaxis]
    true = np.flatnonzero(marks.true)
    false = _within_reach(marks, weights, limits.max(axis=(1, 2)))
    member = marks.stratum[true, np.newaxis] == np.arange(marks.lesions_by_diameter.shape[1])
    tp = _cumulate(weights[:, marks.case[true], np.newaxis] * member)
    fp = _cumulate(weights[:, marks.case[false], np.newaxis])
    threshold = _first_beyond(marks.confidence[false], fp[..., 0], limits[..., 0])
    before, after = _around(threshold, marks.confidence[false], fp)
    above, upto = _around(threshold, marks.confidence[true], tp)
    # true and false positives of one confidence come together: the rate lies on the line between, this part of it
    part = np.divide(limits - before, after - before, out=np.zeros_like(limits), where=after > before)
    lesions = (weights @ marks.lesions_by_diameter)[:, np.newaxis]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.moveaxis((above + part * (upto - above)) / lesions, 1, 2))


def _within_reach(marks: Marks, weights: FloatArray, limits: FloatArray) -> NDArray[np.int64]:
    """The most confident false positives, as many as go beyond the limit of every row of weights, or all."""
    false = np.flatnonzero(~marks.true)
    count = FIRST_TRIED
    while count < len(false):
        in_case = np.bincount(marks.case[false[:count]], minlength=weights.shape[1])
        if (weights @ in_case > limits).all():
            tied = marks.confidence[false] >= marks.confidence[false[count - 1]]
            return np.asarray(false[tied])
        count *= 2
    return false


def _cumulate(counts: FloatArray) -> FloatArray:
    """Sums of the first 0, 1, 2, … marks: (rows, n + 1, columns) of (rows, n, columns)."""
    return np.asarray(np.cumsum(np.pad(counts, ((0, 0), (1, 0), (0, 0))), axis=1))


def _first_beyond(confidence: FloatArray, fp: FloatArray, limits: FloatArray) -> FloatArray:
    """Confidence of the false positive that goes beyond each limit, (rows, limits); −∞ where none does."""
    allowed = [np.searchsorted(row, limit, side="right") - 1 for row, limit in zip(fp, limits, strict=True)]
    return np.asarray(np.append(confidence, -np.inf)[np.stack(allowed)])


def _around(threshold: FloatArray, confidence: FloatArray, cumulated: FloatArray) -> list[FloatArray]:
    """What marks above each threshold count together, and what those at least as confident do."""
    ends = [np.searchsorted(-confidence, -threshold, side="left"), np.searchsorted(-confidence, -threshold, "right")]
    return [np.take_along_axis(cumulated, end[..., np.newaxis], axis=1) for end in ends]
