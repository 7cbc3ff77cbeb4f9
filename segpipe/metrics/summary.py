"""The figures of a data set from those of its cases, each headline with its interval over patients."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.metrics.detection import MINIMUM_IOU
from segpipe.metrics.intervals import LEVEL, RESAMPLES, interval_of, interval_of_mean
from segpipe.metrics.overlap import OVERLAP_FIGURES
from segpipe.metrics.results import CaseResult

POLICY = {
    "empty_reference": "voxel figures are undefined and left out of means; the case counts under `empty` and its "
    "predicted lesions as false positives",
    "empty_prediction": "overlap figures are 0, the volume error is -100 %, distances are undefined",
    "both_empty": "voxel figures are undefined and left out of means; the case counts under `empty`",
    "lesions": f"26-connected components, paired one to one at an IoU of at least {MINIMUM_IOU:g}",
    "intervals": f"{LEVEL:.0%} percentile bootstrap of {RESAMPLES} resamples over patients",
    "std": "over cases, with n - 1",
}


def summarise(results: Sequence[CaseResult], *, seed: int = 0) -> dict[str, Any]:
    """Returns the content of `summary.json`: plain data, None where a figure is undefined.

    `metrics` holds mean, median, std, ci95 (of the mean) and n (cases with a defined value) of every figure;
    `lesions` the counts over all cases and their ratios. How empty masks count is told under `policy`.

    Args:
        results: The cases, at least one.
        seed: Of the bootstrap.
    """
    patients = {result.patient for result in results}
    return {
        "cases": len(results),
        "patients": len(patients),
        "metrics": {name: _figure(results, name, seed) for name in _figure_names(results)},
        "lesions": _lesions(results, seed),
        "empty": count_empty(results),
        "policy": POLICY,
    }


def count_empty(results: Sequence[CaseResult]) -> dict[str, int]:
    """Counts the cases in which both masks, only the reference or only the prediction have no foreground."""
    kinds = [result.empty for result in results]
    return {
        "both": kinds.count("both"),
        "only_reference": kinds.count("reference"),
        "only_prediction": kinds.count("prediction"),
    }


def f1_ratios(
    tp: NDArray[np.float64], fp: NDArray[np.float64], fn: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F1 of counts; NaN where a denominator is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {"precision": tp / (tp + fp), "recall": tp / (tp + fn), "f1": 2 * tp / (2 * tp + fp + fn)}


def _figure_names(results: Sequence[CaseResult]) -> list[str]:
    return list(dict.fromkeys([*OVERLAP_FIGURES, *(name for result in results for name in result.figures)]))


def _figure(results: Sequence[CaseResult], name: str, seed: int) -> dict[str, Any]:
    pairs = [(value, result.patient) for result in results if (value := result.figures.get(name)) is not None]
    values = np.array([value for value, _ in pairs])
    if not pairs:
        return {"mean": None, "median": None, "std": None, "ci95": None, "n": 0}
    interval = interval_of_mean([value for value, _ in pairs], [patient for _, patient in pairs], seed=seed)
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
        "ci95": list(interval) if interval else None,
        "n": len(values),
    }


def _lesions(results: Sequence[CaseResult], seed: int) -> dict[str, Any]:
    counts = np.array(
        [[result.true_positives, result.false_positives, result.false_negatives] for result in results],
        dtype=np.float64,
    )
    totals = counts.sum(axis=0)
    ratios = {name: float(value) for name, value in f1_ratios(*totals).items()}
    patients = [result.patient for result in results]
    intervals = {name: interval_of(partial(_ratio, counts, name), patients, seed=seed) for name in ratios}
    tp, fp, fn = (int(total) for total in totals)
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        **{name: value if np.isfinite(value) else None for name, value in ratios.items()},
        "ci95": {name: list(interval) if interval else None for name, interval in intervals.items()},
        "fp_per_scan": fp / len(results),
    }


def _ratio(counts: NDArray[np.float64], name: str, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    tp, fp, fn = (weights @ counts).T
    return f1_ratios(tp, fp, fn)[name]
