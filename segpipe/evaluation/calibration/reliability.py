"""Confidences next to how often they were right: reliability, its error, and risk along coverage."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import FloatArray

BINS = 10


def reliability_rows(
    confidence: FloatArray, right: FloatArray, count: FloatArray | None = None
) -> list[dict[str, Any]]:
    """Ten bins of confidence: how many, their mean confidence, and the share that was right; empty ones are left out.

    Args:
        confidence: In 0…1, of each answer, or the mean of `count` answers.
        right: 1 where it was right, else 0; of `count` answers the share.
        count: Answers that a place stands for; one each by default.

    >>> reliability_rows(np.array([0.75, 0.72]), np.array([1.0, 0.0]))
    [{'from': 0.7, 'to': 0.8, 'count': 2, 'confidence': 0.735, 'right': 0.5}]
    """
    weights = np.ones(len(confidence)) if count is None else count
    bins = _bins(confidence)
    sums = [np.bincount(bins, weights * values, minlength=BINS) for values in (np.ones(len(bins)), confidence, right)]
    return [
        {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "count": round(many),
            "confidence": float(sure / many),
            "right": float(good / many),
        }
        for number, (many, sure, good) in enumerate(zip(*sums, strict=True))
        if many
    ]


def finding_error(confidence: FloatArray, right: FloatArray, weights: FloatArray) -> FloatArray:
    """Expected calibration error in ten bins, of weighted findings (resamples, findings).

    >>> finding_error(np.array([0.75] * 4), np.array([1.0, 1.0, 1.0, 0.0]), np.ones((1, 4))).tolist()
    [0.0]

    Source:
        Naeini et al., AAAI 2015, 2901–2907.
    """
    members = np.eye(BINS)[_bins(confidence)]
    gaps = np.abs(weights @ (members * (confidence - right)[:, None])).sum(axis=1)
    return np.asarray(gaps / weights.sum(axis=1))


def risk_along_coverage(confidence: FloatArray, risk: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Coverage, and the mean risk of what is that sure: first the surest alone, in the end all.

    Of equally sure ones each has the mean of them, so that their order does not count.

    Source:
        Geifman and El-Yaniv, Selective Classification for Deep Neural Networks, NeurIPS 2017.
    """
    _, inverse = np.unique(-confidence, return_inverse=True)
    tied = np.bincount(inverse, risk) / np.bincount(inverse)
    ranked = tied[np.sort(inverse)]
    ranks = np.arange(1, len(risk) + 1)
    return ranks / len(risk), np.cumsum(ranked) / ranks


def aurc(confidence: FloatArray, risk: FloatArray) -> float:
    """Area under risk along coverage: the mean over all coverages; the lower, the better errors are foreseen.

    >>> aurc(np.array([0.9, 0.8]), np.array([0.0, 1.0]))
    0.25
    """
    return float(risk_along_coverage(confidence, risk)[1].mean())


def excess_aurc(confidence: FloatArray, risk: FloatArray) -> float:
    """What the area has more than that of an order by the risk itself, which nothing can be below.

    Source:
        Geifman, Uziel and El-Yaniv, Bias-Reduced Uncertainty Estimation, ICLR 2019, arXiv 1805.08206.
    """
    return aurc(confidence, risk) - aurc(-risk, risk)


def _bins(confidence: FloatArray) -> NDArray[np.int64]:
    return np.clip(np.floor(confidence * BINS + 1e-9), 0, BINS - 1).astype(np.int64)
