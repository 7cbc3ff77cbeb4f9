"""A summary as metrics: the same names for every run, so that MLflow's charts and compare pages line up."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

HEADLINES = "evaluation"
DETAILS = "evaluation_details"
_PARTS = (
    "cases",
    "patients",
    "failed_cases",
    "membership",
    "privacy",
    "metrics",
    "class_means",
    "lesions",
    "detection",
    "calibration",
    "strata",
    "empty",
    "operating_point",
)
_RENAMED = (
    (r"^metrics_(\w+)_mean$", r"\1"),
    (r"^lesions_(f1|precision|recall|panoptic_quality)$", r"lesion_\1"),
    (r"^lesions_fp_per_scan$", "fp_per_scan"),
    (r"^detection_overlap_(cpm|average_precision)$", r"\1"),
    (r"^calibration_voxels_(ece|ece_calibrated)$", r"voxel_\1"),
    (r"^calibration_findings_(ece|ece_calibrated)$", r"finding_\1"),
    (r"^calibration_findings_(aurc)$", r"\1"),
    (r"^(cases)$", r"\1"),
    (r"^class_means_(\w+)$", r"class_mean_\1"),
)
# found in summary.json and its tables; as metrics they would bury the others
_LEFT_OUT = re.compile(
    r"^metrics_\w+_n$|^strata_.*_ci95_|^detection_\w+_scan_ci95_|^detection_centre_sensitivity"
    r"|^detection_\w+_by_diameter_.*(?<!_cpm)$"
)
_FOREIGN = re.compile(r"[^\w.\- ]")


def summary_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a summary as metrics.

    What one compares first is `evaluation/NAME`, e.g. `evaluation/dice`; all else, intervals with it, is
    `evaluation_details/PATH`. Those are sections of MLflow's charts, and its tables, sorted by name, begin with the
    first. Of several classes each has a section `evaluation_CLASS`, and their means are `evaluation/class_mean_NAME`.
    Counts of cases behind a figure, intervals of strata and of the FROC, and of the FROC by diameter all but its CPM
    are left to `summary.json`.

    >>> summary_metrics({"metrics": {"dice": {"mean": 0.8, "ci95": [0.7, 0.9]}}, "seed": 1})
    {'evaluation/dice': 0.8, 'evaluation_details/dice_ci95_low': 0.7, 'evaluation_details/dice_ci95_high': 0.9}
    """
    metrics = _metrics_of(summary)
    for name, figures in (summary.get("classes") or {}).items():
        section = f"{HEADLINES}_{_FOREIGN.sub('_', name)}/"
        headlines = {path: value for path, value in _metrics_of(figures).items() if path.startswith(f"{HEADLINES}/")}
        metrics |= {path.replace(f"{HEADLINES}/", section, 1): value for path, value in headlines.items()}
    return metrics


def _metrics_of(summary: Mapping[str, Any]) -> dict[str, float]:
    known = {part: summary[part] for part in _PARTS if part in summary}
    return dict(_named(path, value) for path, value in _numbers(known, ()) if not _LEFT_OUT.match(path))


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _numbers(child, (*path, str(key)))
    elif isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(end, int | float) for end in value):
        yield from _numbers(value[0], (*path, "low"))
        yield from _numbers(value[1], (*path, "high"))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield _FOREIGN.sub("_", "_".join(path)), float(value)


def _named(path: str, value: float) -> tuple[str, float]:
    for pattern, name in _RENAMED:
        if re.match(pattern, path):
            return f"{HEADLINES}/{re.sub(pattern, name, path)}", value
    return f"{DETAILS}/{path.removeprefix('metrics_')}", value
