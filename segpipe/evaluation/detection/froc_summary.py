"""The figures of a FROC with their intervals, as summaries hold them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from segpipe.evaluation.bootstrap import LEVEL, Interval, patient_weights, percentile_interval
from segpipe.evaluation.detection.froc import FP_RATES, Marks, froc_curve, froc_figures
from segpipe.evaluation.detection.froc_by_diameter import sensitivity_by_diameter
from segpipe.evaluation.strata import DIAMETERS_MM
from segpipe.geometry import FloatArray

FROC_RESAMPLES = 1000
BY_DIAMETER = (
    "sensitivities of the FROC for the lesions of each diameter: false positives are those of the whole scan, since a "
    "false candidate has no true size; candidates that are lesions of another diameter count neither way"
)


def froc_summary(marks: Marks, patients: Sequence[str], *, seed: int) -> dict[str, Any]:
    """Sensitivity at the seven rates, CPM and average precision, each with its interval over patients.

    `by_diameter` holds the sensitivities and their mean for each stratum of diameters that has lesions, with the number
    of these; a stratum with lesions of one patient alone has no intervals.

    Args:
        marks: The candidates.
        patients: The patient of each case.
        seed: Of the bootstrap.
    """
    once = np.ones((1, len(patients)))
    resamples = patient_weights(patients, seed=seed, resamples=FROC_RESAMPLES) if len(set(patients)) > 1 else None
    values = froc_figures(marks, once)[0]
    intervals = _intervals(None if resamples is None else froc_figures(marks, resamples), len(values))
    return {
        **_along_rates(values[:-1], intervals[:-1]),
        "average_precision": float(values[-1]),
        "average_precision_ci95": _plain(intervals[-1]),
        "by_diameter": dict(_by_diameter(marks, patients, once, resamples)),
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


def _by_diameter(
    marks: Marks, patients: Sequence[str], once: FloatArray, resamples: FloatArray | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and figures of each stratum that has lesions."""
    values = _with_mean(sensitivity_by_diameter(marks, once))[0]
    resampled = None if resamples is None else _with_mean(sensitivity_by_diameter(marks, resamples))
    for index, (_, _, name) in enumerate(DIAMETERS_MM):
        lesions = marks.lesions_by_diameter[:, index]
        several = len({patient for patient, count in zip(patients, lesions, strict=True) if count}) > 1
        draws = resampled[:, index] if several and resampled is not None else None
        if lesions.any():
            figures = _along_rates(values[index], _intervals(draws, values.shape[1]))
            yield name, {"lesions": int(lesions.sum()), **figures}


def _with_mean(sensitivities: FloatArray) -> FloatArray:
    """Sensitivities (…, rates) and their mean as one more column."""
    return np.append(sensitivities, sensitivities.mean(axis=-1, keepdims=True), axis=-1)


def _along_rates(values: FloatArray, intervals: Sequence[Interval | None]) -> dict[str, Any]:
    """Sensitivities at the seven rates and their mean, with intervals."""
    rates = [f"{rate:g}" for rate in FP_RATES]
    return {
        "sensitivity_at_fp_per_scan": dict(zip(rates, values.tolist(), strict=False)),
        "sensitivity_at_fp_per_scan_ci95": dict(zip(rates, map(_plain, intervals), strict=False)),
        "cpm": float(values[-1]),
        "cpm_ci95": _plain(intervals[-1]),
    }


def _intervals(resampled: FloatArray | None, count: int) -> list[Interval | None]:
    """The interval of each column of resampled figures; None each where there are none."""
    return [None] * count if resampled is None else [percentile_interval(column) for column in resampled.T]


def _plain(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None
