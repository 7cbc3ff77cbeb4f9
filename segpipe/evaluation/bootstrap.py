"""How sure a figure is: bootstrap intervals over patients, since the cases of one patient are not independent."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = 0.95
MOST_WEIGHTS = 2**25
"""At once, 256 MiB: of up to 16,777 cases all resamples."""
Interval = tuple[float, float]


def patient_weights(patients: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES) -> NDArray[np.float64]:
    """How often each case counts when patients are drawn with replacement: (resamples, cases).

    All cases of a patient are drawn together. The draw depends on the set of patients and the seed only, not on the
    order of the cases, so that two runs on the same cases share it.
    """
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    return _draw(len(names), owner, np.random.default_rng(seed), resamples)


def interval_of_mean(values: Sequence[float], patients: Sequence[str], *, seed: int = 0) -> Interval | None:
    """95 % percentile interval of the mean over cases; None with fewer than two patients.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13; clusters are resampled whole.
    """
    column = np.asarray(values, dtype=np.float64)
    return interval_of(lambda weights: weights @ column / weights.sum(axis=1), patients, seed=seed)


def interval_of(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]], patients: Sequence[str], *, seed: int = 0
) -> Interval | None:
    """95 % percentile interval of a statistic of weighted cases; None with fewer than two patients.

    Args:
        statistic: Takes the weights (resamples, cases) and gives one value per resample; NaN where undefined.
        patients: The patient of each case.
        seed: Of the draws.
    """
    if len(set(patients)) < 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        values = [statistic(weights) for weights in _weights_in_parts(patients, seed)]
    return percentile_interval(np.concatenate(values))


def percentile_interval(values: NDArray[np.float64]) -> Interval | None:
    """The middle 95 % of resampled values; None when none of them is defined."""
    defined = values[np.isfinite(values)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _weights_in_parts(patients: Sequence[str], seed: int) -> Iterator[NDArray[np.float64]]:
    """The rows of `patient_weights`, of many cases a part at a time, since all would fill the memory."""
    names, owner = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    rows = max(1, MOST_WEIGHTS // len(owner))
    for start in range(0, RESAMPLES, rows):
        yield _draw(len(names), owner, rng, min(rows, RESAMPLES - start))


def _draw(names: int, owner: NDArray[np.intp], rng: np.random.Generator, resamples: int) -> NDArray[np.float64]:
    draws = rng.multinomial(names, np.full(names, 1 / names), size=resamples)
    return np.asarray(draws[:, owner], dtype=np.float64)
