"""The figures of a data set from those of its cases, each headline with its interval over patients."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from segpipe.evaluation.bootstrap import LEVEL, RESAMPLES, Interval, interval_of, interval_of_mean
from segpipe.evaluation.calibration.findings import EVENT
from segpipe.evaluation.calibration.summary import calibration_summary
from segpipe.evaluation.calibration.voxels import MARGIN_MM
from segpipe.evaluation.detection.candidates import LEAST_CONFIDENCE, MOST_CANDIDATES, PART_OF_PEAK
from segpipe.evaluation.detection.froc import RULES, collect_marks
from segpipe.evaluation.detection.froc_summary import BY_DIAMETER, FROC_RESAMPLES, froc_summary
from segpipe.evaluation.detection.matching import MINIMUM_IOU
from segpipe.evaluation.measures.overlap import OVERLAP_FIGURES
from segpipe.evaluation.measures.surface import NSD_TOLERANCE_MM, SURFACE_FIGURES
from segpipe.evaluation.results import CaseResult
from segpipe.evaluation.strata import stratify
from segpipe.geometry import FloatArray

RATIOS = ("precision", "recall", "f1", "segmentation_quality", "panoptic_quality")
POLICY = {
    "empty_reference": "voxel and surface figures are undefined and left out of means; the case counts under `empty` "
    "and its predicted lesions as false positives",
    "empty_prediction": "overlap figures and NSD are 0, the volume error is -100 %, HD95 is undefined",
    "both_empty": "voxel and surface figures are undefined and left out of means; the case counts under `empty`",
    "lesions": f"26-connected components, paired one to one at an IoU of at least {MINIMUM_IOU:g}; ratios are of the "
    "counts over all cases",
    "centre": "a candidate hits a lesion when its centre is nearer than half the lesion's longest diameter (LUNA16)",
    "candidates": f"of FROC, CPM and average precision: peaks of the probability from {LEAST_CONFIDENCE:g} on, each as "
    f"far as the probability stays at {PART_OF_PEAK:.0%} of it, at most {MOST_CANDIDATES} in a scan, whatever the "
    "operating point shows; of a network that answers to a point the lesions of its mask; masks without probabilities "
    "give one point and no curve",
    "by_diameter": BY_DIAMETER,
    "confidence": "of a candidate: the peak; of a lesion: the mean foreground probability over its voxels",
    "calibration": f"error in ten bins of confidence; of voxels in boxes around the foreground of both masks, "
    f"{MARGIN_MM:g} mm larger on each side; of findings whether {EVENT}; risk is 1 - Dice",
    "intervals": f"{LEVEL:.0%} percentile bootstrap over patients, {RESAMPLES} resamples, {FROC_RESAMPLES} for FROC",
    "nsd": f"normalised surface Dice at a tolerance of {NSD_TOLERANCE_MM:g} mm, surfaces weighted by area",
    "hd95": "the larger 95th percentile of both directions, between the centres of border voxels",
    "std": "over cases, with n - 1",
    "classes": "of several classes each is evaluated for itself under `classes`; all else takes them as one foreground",
    "sphere": "where the reference is a sphere around a nodule, not an outline, lesions are matched by centre, and "
    "voxel and surface figures, lesion Dice and IoU are undefined and left out",
}


def summarise(
    results: Sequence[CaseResult], *, seed: int = 0, confidence: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the content of `summary.json`: plain data, None where a figure is undefined.

    - `metrics`: mean, median, std, ci95 (of the mean) and n (cases with a defined value) of every figure.
    - `lesions`: counts over all cases and their ratios, with panoptic quality.
    - `detection`: sensitivity at seven rates of false positives, CPM and average precision, where candidates are
      matched by `overlap` and by `centre`, and the same sensitivities by diameter of the lesion; None when their
      confidences are not known, as one point is no curve.
    - `calibration`: whether probabilities of voxels and confidences of findings are right, where they are known.
    - `strata`: lesions by diameter and by readers' ratings.
    - `empty`: how often masks were empty; how they count is said under `policy`.
    - `classes`: where there are several, the same of each class; all else is of the foreground of all classes together.
    - `class_means`: where there are several, each figure's mean over the classes' means, every class counting equally.

    Args:
        results: The cases.
        seed: Of the bootstrap.
        confidence: What the model knows of its confidence; see `calibration_summary`.
    """
    calibration = calibration_summary(results, confidence, seed=seed)
    known = {"calibration": calibration} if calibration else {}
    return {**_figures(results, seed), **known, **_classes(results, seed), "policy": POLICY}


def _figures(results: Sequence[CaseResult], seed: int) -> dict[str, Any]:
    metrics = {name: _figure(results, name, seed) for name in _figure_names(results)}
    metrics["nsd"]["tolerance_mm"] = NSD_TOLERANCE_MM
    return {
        "cases": len(results),
        "patients": len({result.patient for result in results}),
        "metrics": metrics,
        "lesions": _lesions(results, seed),
        "detection": _detection(results, seed),
        "strata": stratify(results, seed=seed),
        "empty": count_empty(results),
    }


def _classes(results: Sequence[CaseResult], seed: int) -> dict[str, Any]:
    names = list(dict.fromkeys(name for result in results for name in result.classes))
    classes = {name: _figures([result.classes[name] for result in results], seed) for name in names}
    if not classes:
        return {}
    figures = list(next(iter(classes.values()))["metrics"])
    means = {figure: [each["metrics"][figure]["mean"] for each in classes.values()] for figure in figures}
    known = {figure: [value for value in values if value is not None] for figure, values in means.items()}
    return {
        "classes": classes,
        "class_means": {figure: float(np.mean(values)) if values else None for figure, values in known.items()},
    }


def count_empty(results: Sequence[CaseResult]) -> dict[str, int]:
    """Counts the cases in which both masks, only the reference or only the prediction have no foreground."""
    kinds = [result.empty for result in results]
    return {
        "both": kinds.count("both"),
        "only_reference": kinds.count("reference"),
        "only_prediction": kinds.count("prediction"),
    }


def lesion_ratios(counts: FloatArray) -> dict[str, FloatArray]:
    """Precision, recall, F1, segmentation quality (mean IoU of pairs) and panoptic quality; NaN where undefined.

    Args:
        counts: TP, FP, FN and the sum of the pairs' IoU, (…, 4).

    Source:
        Kirillov et al., Panoptic Segmentation, CVPR 2019; F1 is its recognition quality.
    """
    tp, fp, fn, iou = np.moveaxis(counts, -1, 0)
    halves = tp + (fp + fn) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        values = (tp / (tp + fp), tp / (tp + fn), tp / halves, iou / tp, iou / halves)
    return dict(zip(RATIOS, values, strict=True))


def _figure_names(results: Sequence[CaseResult]) -> list[str]:
    known = (*OVERLAP_FIGURES, *SURFACE_FIGURES)
    return list(dict.fromkeys([*known, *(name for result in results for name in result.figures)]))


def _figure(results: Sequence[CaseResult], name: str, seed: int) -> dict[str, Any]:
    pairs = [(value, result.patient) for result in results if (value := result.figures.get(name)) is not None]
    if not pairs:
        return {"mean": None, "median": None, "std": None, "ci95": None, "n": 0}
    values = np.array([value for value, _ in pairs])
    interval = interval_of_mean(values.tolist(), [patient for _, patient in pairs], seed=seed)
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "std": float(values.std(ddof=1)) if len(values) > 1 else None,
        "ci95": _plain(interval),
        "n": len(values),
    }


def _lesions(results: Sequence[CaseResult], seed: int) -> dict[str, Any]:
    counts = np.array([_counts(result) for result in results], dtype=np.float64).reshape(-1, 4)
    patients = [result.patient for result in results]
    intervals = {name: interval_of(partial(_weighted_ratio, counts, name), patients, seed=seed) for name in RATIOS}
    tp, fp, fn, _ = counts.sum(axis=0)
    return {
        "tp": int(tp),
        "fp": int(fp),
        "fn": int(fn),
        **{name: _defined(value) for name, value in lesion_ratios(counts.sum(axis=0)).items()},
        "ci95": {name: _plain(interval) for name, interval in intervals.items()},
        "fp_per_scan": _defined(fp / len(results)) if results else None,
    }


def _counts(result: CaseResult) -> tuple[float, ...]:
    overlap = sum(np.nan if lesion.overlap is None else lesion.overlap for lesion in result.lesions)
    return result.true_positives, result.false_positives, result.false_negatives, overlap


def _weighted_ratio(counts: FloatArray, name: str, weights: FloatArray) -> FloatArray:
    return lesion_ratios(weights @ counts)[name]


def _detection(results: Sequence[CaseResult], seed: int) -> dict[str, Any] | None:
    marks = {rule: collect_marks(results, rule) for rule in RULES}
    if not sum(len(result.lesions) for result in results):
        return None
    patients = [result.patient for result in results]
    known = {rule: found for rule, found in marks.items() if found is not None}
    return {rule: froc_summary(found, patients, seed=seed) for rule, found in known.items()} or None


def _defined(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _plain(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None
