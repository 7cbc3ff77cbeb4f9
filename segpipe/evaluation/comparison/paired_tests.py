"""Whether a difference between two runs on the same cases is more than luck: intervals and permutation tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.bootstrap import Interval, interval_of
from segpipe.geometry import FloatArray

PERMUTATIONS = 10_000
EXACT_UP_TO = 13  # patients; 2^13 swaps are fewer than the drawn ones
Statistic = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Difference:
    """The second run against the first.

    Args:
        first: Figure of the first run.
        second: Figure of the second run.
        difference: Second minus first.
        interval: 95 % bootstrap interval of the difference over patients; None with one patient.
        p: Two-sided permutation p-value.
    """

    first: float
    second: float
    difference: float
    interval: Interval | None
    p: float


def difference_of_means(
    first: FloatArray, second: FloatArray, patients: Sequence[str], *, seed: int = 0
) -> Difference | None:
    """Compares the means of a figure, case by case; None without a case.

    Args:
        first: Figures of the first run, (cases,).
        second: Figures of the second run on the same cases.
        patients: The patient of each case.
        seed: Of resamples and permutations.
    """
    if not len(first):
        return None
    return difference_of(first[:, None], second[:, None], patients, _mean, seed=seed)


def difference_of(
    first: FloatArray, second: FloatArray, patients: Sequence[str], statistic: Statistic, *, seed: int = 0
) -> Difference:
    """Compares a statistic of two runs.

    The interval resamples patients with all their cases; the test swaps the runs' figures patient by patient, since
    under the hypothesis that the runs are equally good it does not matter which of them a figure came from.

    Args:
        first: Columns of the first run, (cases, columns).
        second: Columns of the second run on the same cases.
        patients: The patient of each case.
        statistic: From columns summed over weighted cases (rows, columns) and the weights' sums (rows,) to one value
            per row.
        seed: Of resamples and permutations.

    Source:
        Good, Permutation, Parametric and Bootstrap Tests of Hypotheses (2005), chapter 3; a drawn test counts the
        observed order as one of the draws (Phipson and Smyth 2010).
    """
    ones = np.ones((1, len(patients)))
    values = [float(_apply(statistic, columns, ones)[0]) for columns in (first, second)]

    def resampled(weights: FloatArray) -> FloatArray:
        return _apply(statistic, second, weights) - _apply(statistic, first, weights)

    swaps = patient_swaps(patients, seed=seed)
    return Difference(
        first=values[0],
        second=values[1],
        difference=values[1] - values[0],
        interval=interval_of(resampled, patients, seed=seed),
        p=_p_value(first, second, swaps, statistic, exact=len(set(patients)) <= EXACT_UP_TO),
    )


def patient_swaps(patients: Sequence[str], *, seed: int = 0) -> NDArray[np.bool_]:
    """Which cases change sides, (permutations, cases); all ways for few patients, otherwise 10,000 drawn ones."""
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    if len(names) <= EXACT_UP_TO:
        swaps = np.array(list(product((False, True), repeat=len(names))), dtype=np.bool_)
    else:
        swaps = np.random.default_rng(seed).random((PERMUTATIONS, len(names))) < 0.5
    return np.asarray(swaps[:, owner], dtype=np.bool_)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number.

    Source:
        Holm, Scandinavian Journal of Statistics 6 (1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """The share of false alarms to be expected among all that are at least as small.

    Source:
        Benjamini and Hochberg, Journal of the Royal Statistical Society B 57 (1995).

    >>> benjamini_hochberg([0.01, 0.04, 0.03, 0.5])
    [0.04, 0.05333333333333333, 0.05333333333333333, 0.5]
    """
    order = sorted(range(len(p_values)), key=lambda index: -p_values[index])
    corrected, smallest = [0.0] * len(p_values), 1.0
    for above, index in enumerate(order):
        smallest = min(smallest, p_values[index] * (len(p_values) / (len(p_values) - above)))
        corrected[index] = smallest
    return corrected


def _p_value(
    first: FloatArray, second: FloatArray, swaps: NDArray[np.bool_], statistic: Statistic, *, exact: bool
) -> float:
    ones = np.ones((1, len(first)))
    moved = swaps.astype(np.float64)
    change = second - first
    count = np.full(len(swaps), float(len(first)))
    left = statistic(ones @ first + moved @ change, count)
    right = statistic(ones @ second - moved @ change, count)
    observed = _apply(statistic, second, ones) - _apply(statistic, first, ones)
    with np.errstate(invalid="ignore"):
        extreme = int(np.count_nonzero(np.nan_to_num(np.abs(right - left)) >= np.abs(observed) - 1e-12))
    return extreme / len(swaps) if exact else (extreme + 1) / (len(swaps) + 1)


def _apply(statistic: Statistic, columns: FloatArray, weights: FloatArray) -> FloatArray:
    return statistic(weights @ columns, weights.sum(axis=1))


def _mean(sums: FloatArray, counts: FloatArray) -> FloatArray:
    return np.asarray(sums[:, 0] / counts)
