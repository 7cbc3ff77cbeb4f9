"""The figures of a FROC with their intervals, as summaries hold them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segpipe.evaluation.bootstrap import LEVEL, Interval, patient_weights, percentile_interval
from segpipe.evaluation.detection.froc import FP_RATES, Marks, froc_curve, froc_figures
from segpipe.geometry import FloatArray

FROC_RESAMPLES = 1000


def froc_summary(marks: Marks, patients: Sequence[str], *, seed: int) -> dict[str, Any]:
    """Sensitivity at the seven rates, CPM and average precision, each with its interval over patients.

    Args:
        marks: The candidates.
        patients: The patient of each case.
        seed: Of the bootstrap.
    """
    values = froc_figures(marks, np.ones((1, len(patients))))[0]
    intervals: list[Interval | None] = [None] * len(values)
    if len(set(patients)) > 1:
        resampled = froc_figures(marks, patient_weights(patients, seed=seed, resamples=FROC_RESAMPLES))
        intervals = [percentile_interval(column) for column in resampled.T]
    rates = [f"{rate:g}" for rate in FP_RATES]
    return {
        "sensitivity_at_fp_per_scan": dict(zip(rates, values.tolist(), strict=False)),
        "sensitivity_at_fp_per_scan_ci95": dict(zip(rates, map(_plain, intervals), strict=False)),
        "cpm": float(values[-2]),
        "cpm_ci95": _plain(intervals[-2]),
        "average_precision": float(values[-1]),
        "average_precision_ci95": _plain(intervals[-1]),
    }


def froc_band(marks: Marks, patients: Sequence[str], rates: FloatArray, *, seed: int) -> FloatArray:
    """Mean and 95 % interval of the sensitivity at rates of false positives over resampled patients.

    Args:
        marks: The candidates.
        patients: The patient of each case.
        rates: False positives per scan, (n,).
        seed: Of the bootstrap; the resamples are those of `froc_summary`.

    Returns:
        Mean, lower and upper bound, (3, n).
    """
    weights = patient_weights(patients, seed=seed, resamples=FROC_RESAMPLES)
    sensitivity = np.empty((len(weights), len(rates)), dtype=np.float32)
    for row, weight in zip(sensitivity, weights, strict=True):
        row[:] = froc_curve(marks, weight).sensitivity_at(rates)
    defined = sensitivity[np.isfinite(sensitivity).all(axis=1)]
    return np.stack(
        [defined.mean(axis=0, dtype=np.float64), *np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)]
    )


def _plain(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None
