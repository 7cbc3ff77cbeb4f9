"""How well predicted ratings agree with readers: ranking, agreement beyond chance, and whether confidence is right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.bootstrap import interval_of

Levels = NDArray[np.int64]
Probabilities = NDArray[np.float64]
BINS = 10
HALF = 0.5 - 1e-9
"""But for rounding."""


@dataclass(frozen=True, eq=False)
class RatedNodules:
    """What readers and a model say of nodules on one scale.

    Args:
        levels: The readers' grade of each nodule, from 0.
        probabilities: The model's of each grade, (nodules, grades).
        patients: The patient of each nodule.
    """

    levels: Levels
    probabilities: Probabilities
    patients: Sequence[str]

    @property
    def means(self) -> NDArray[np.float64]:
        """The expected grade, by which nodules are ranked."""
        return expected_grade(self.probabilities)

    @property
    def predicted(self) -> Levels:
        """The median grade, which is the one shown."""
        return median_grade(self.probabilities)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of the predicted grade."""
        return self.probabilities[np.arange(len(self.levels)), self.predicted]


def expected_grade(probabilities: Probabilities) -> NDArray[np.float64]:
    """The mean of the grades, from 0, by their probabilities along the last axis."""
    return np.asarray(probabilities @ np.arange(probabilities.shape[-1]))


def median_grade(probabilities: Probabilities) -> Levels:
    """The grade that is shown: at least half of readers would give it or a lower one, and half it or a higher one."""
    return np.asarray((np.cumsum(probabilities, axis=-1) < HALF).sum(axis=-1))


def rating_figures(nodules: RatedNodules, *, seed: int = 0) -> dict[str, Any]:
    """AUC, kappa and accuracy with 95 % intervals over patients, the calibration error and the log loss.

    Kappa, accuracy and calibration are those of the median grade; `kappa_of_mean` is that of the grade nearest to the
    expected one, which errors that count by their square prefer, and which few readers may give.

    The AUC is that of the expected grade between the upper and the lower grades; nodules in the middle one are left
    out, as in LIDC's literature (malignancy ≥ 4 against ≤ 2).
    """
    grades = nodules.probabilities.shape[1]
    upper, lower = nodules.levels > (grades - 1) / 2, nodules.levels < (grades - 1) / 2
    own = nodules.probabilities[np.arange(len(nodules.levels)), nodules.levels]
    right = nodules.predicted == nodules.levels
    figures: dict[str, _Auc | _Kappa | _Share] = {
        "auc": _Auc(nodules.means, upper, lower),
        "kappa": _Kappa(nodules.levels, nodules.predicted, grades),
        "kappa_of_mean": _Kappa(nodules.levels, _nearest(nodules.means), grades),
        "accuracy": _Share(right),
    }
    return {
        **{name: _with_interval(figure, nodules.patients, seed) for name, figure in figures.items()},
        "calibration_error": {"mean": calibration_error(nodules.confidence, right)},
        "log_loss": {"mean": float(-np.log(np.maximum(own, 1e-9)).mean())},
    }


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: in ten bins of confidence, how far the share that is right lies from its mean.

    >>> calibration_error(np.array([0.75, 0.75, 0.75, 0.75]), np.array([True, True, True, False]))
    0.0

    Source:
        Naeini et al., AAAI 2015, 2901–2907.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.abs(np.bincount(bins, weights=confidence - right, minlength=BINS))
    return float(gaps.sum() / len(confidence))


def quadratic_kappa(first: Levels, second: Levels, *, grades: int) -> float:
    """Cohen's kappa of two raters with quadratic weights; NaN where both always give one and the same grade.

    Source:
        Cohen, Psychological Bulletin 70 (1968) 213–220.
    """
    return float(_Kappa(first, second, grades)(np.ones((1, len(first))))[0])


def _nearest(means: NDArray[np.float64]) -> Levels:
    return np.floor(means + 0.5).astype(np.int64)


def _with_interval(figure: "_Auc | _Kappa | _Share", patients: Sequence[str], seed: int) -> Mapping[str, Any]:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(figure(np.ones((1, len(patients))))[0])
    return {"mean": value if np.isfinite(value) else None, "ci95": interval_of(figure, patients, seed=seed)}


class _Auc:
    """How often one of the upper ranks above one of the lower, of weighted cases (resamples, cases)."""

    def __init__(self, scores: NDArray[np.float64], upper: NDArray[np.bool_], lower: NDArray[np.bool_]) -> None:
        self.upper, self.lower = upper, lower
        apart = scores[upper][:, None] - scores[lower][None]
        self.wins = (apart > 0) + 0.5 * (apart == 0)

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        upper, lower = weights[:, self.upper], weights[:, self.lower]
        won: NDArray[np.float64] = ((upper @ self.wins) * lower).sum(axis=1)
        return np.asarray(won / (upper.sum(axis=1) * lower.sum(axis=1)))


class _Kappa:
    """Cohen's kappa with quadratic weights, of weighted cases (resamples, cases)."""

    def __init__(self, first: Levels, second: Levels, grades: int) -> None:
        places = np.arange(grades)
        self.cost = (places[:, None] - places[None]).astype(np.float64) ** 2
        self.first, self.second = np.eye(grades)[first], np.eye(grades)[second]
        self.errors = (first - second).astype(np.float64) ** 2

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        chance = ((weights @ self.first @ self.cost) * (weights @ self.second)).sum(axis=1)
        return np.asarray(1 - weights @ self.errors * weights.sum(axis=1) / chance)


class _Share:
    """The share of weighted cases (resamples, cases) that are right."""

    def __init__(self, right: NDArray[np.bool_]) -> None:
        self.right = right.astype(np.float64)

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(weights @ self.right / weights.sum(axis=1))
