"""The figures of a detector's marks: those that LUNA16's official script prints, and tables of scans and nodules."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.evaluation.bootstrap import LEVEL
from segpipe.evaluation.detection.froc import FP_RATES, froc_curve
from segpipe.evaluation.detection.froc_summary import BY_DIAMETER, FROC_RESAMPLES, froc_band, froc_summary
from segpipe.evaluation.marks.matching import MOST_MARKS, MatchedMarks
from segpipe.evaluation.tables import FROC_COLUMNS, Row, write_froc_by_diameter
from segpipe.system.files.csv_table import write_csv

RULE = "centre"
BAND_RATES = np.linspace(FP_RATES[0], FP_RATES[-1], 10_000)
"""At which the official script gives the mean and the interval of its bootstrap."""
POLICY = {
    "centre": "a mark is on a nodule when it is nearer to its centre than half its diameter; the most probable mark "
    "stands for the nodule, further ones on it count neither way",
    "ignored": "marks on no nodule but on a finding that the reference excludes count neither way",
    "most_marks": f"of a scan with more than {MOST_MARKS} marks those count that are more probable than the next",
    "by_diameter": BY_DIAMETER,
    "intervals": f"{LEVEL:.0%} percentile bootstrap over patients, {FROC_RESAMPLES} resamples",
}
CASE_COLUMNS = ("case", "patient", "nodules", "marks", "tp", "fp", "fn", "ignored", "double")
LESION_COLUMNS = ("case", "kind", "marks", "probability", "diameter_mm", "centre_x_mm", "centre_y_mm", "centre_z_mm")
BAND_COLUMNS = ("fp_per_scan", "mean", "low", "high")
_WHAT = "the evaluation of marks"


def summarise_marks(matched: MatchedMarks, *, seed: int = 0) -> dict[str, Any]:
    """Returns the content of `summary.json`: plain data.

    - `lesions`: nodules found (`tp`) and missed (`fn`), false marks (`fp`), marks on excluded findings (`ignored`) and
      further marks on nodules (`double`); `recall` is the sensitivity over all marks.
    - `detection`: sensitivity at seven rates of false positives, CPM and average precision, with intervals, and the
      sensitivities by diameter of the nodule.
    - `cpm` and `cpm_ci95`: the same once more, as the headline.

    Args:
        matched: What became of the marks.
        seed: Of the bootstrap.
    """
    reference = matched.reference
    froc = froc_summary(matched.candidates(), reference.patients, seed=seed)
    tp, scans = int(matched.found.sum()), len(reference.scans)
    false = int(matched.false.sum())
    return {
        "cases": scans,
        "patients": len(set(reference.patients)),
        "cases_without_marks": scans - len(np.unique(matched.points.scan)),
        "marks": len(matched.points.scan),
        "marks_per_scan": len(matched.points.scan) / scans,
        "cpm": froc["cpm"],
        "cpm_ci95": froc["cpm_ci95"],
        "lesions": {
            "tp": tp,
            "fp": false,
            "fn": len(reference.nodules) - tp,
            "ignored": int(matched.on_ignored.sum()),
            "double": int(np.maximum(matched.hits - 1, 0).sum()),
            "recall": tp / len(reference.nodules),
            "fp_per_scan": false / scans,
        },
        "detection": {RULE: froc},
        "policy": POLICY,
    }


def write_mark_tables(folder: Path, matched: MatchedMarks, summary: Mapping[str, Any], *, seed: int = 0) -> None:
    """Writes `cases.csv`, `lesions.csv`, two tables of the FROC and, of several patients, `froc_bootstrap.csv`.

    Args:
        folder: Where they go.
        matched: What became of the marks.
        summary: What `summarise_marks` made of them.
        seed: Of the bootstrap.

    Raises:
        OutputError: when a file cannot be written.
    """
    write_csv(folder / "cases.csv", mark_case_rows(matched), CASE_COLUMNS, what=_WHAT)
    write_csv(folder / "lesions.csv", mark_lesion_rows(matched), LESION_COLUMNS, what=_WHAT)
    write_csv(folder / "froc.csv", mark_froc_rows(matched), FROC_COLUMNS, what=_WHAT)
    write_froc_by_diameter(folder, summary["detection"])
    if len(set(matched.reference.patients)) > 1:
        band = froc_band(matched.candidates(), matched.reference.patients, BAND_RATES, seed=seed)
        rows = (dict(zip(BAND_COLUMNS, point, strict=True)) for point in np.stack([BAND_RATES, *band], axis=1).tolist())
        write_csv(folder / "froc_bootstrap.csv", rows, BAND_COLUMNS, what=_WHAT)


def mark_case_rows(matched: MatchedMarks) -> list[Row]:
    """One row per scan: its nodules and marks, and what became of them."""
    reference, nodules, points = matched.reference, matched.reference.nodules.scan, matched.points.scan
    columns = {
        "nodules": nodules,
        "marks": points,
        "tp": nodules[matched.found],
        "fp": points[matched.false],
        "fn": nodules[~matched.found],
        "ignored": points[matched.on_ignored],
        "double": np.repeat(nodules, np.maximum(matched.hits - 1, 0)),
    }
    counts = np.stack([np.bincount(scan, minlength=len(reference.scans)) for scan in columns.values()], axis=1)
    return [
        {"case": case, "patient": patient, **dict(zip(columns, row, strict=True))}
        for case, patient, row in zip(reference.scans, reference.patients, counts.tolist(), strict=True)
    ]


def mark_lesion_rows(matched: MatchedMarks) -> list[Row]:
    """One row per nodule: how many marks are on it, and how probable the most probable one is."""
    nodules = matched.reference.nodules
    rows = zip(
        (matched.reference.scans[index] for index in nodules.scan),
        ["reference"] * len(nodules),
        matched.hits.tolist(),
        (value if np.isfinite(value) else None for value in matched.probability.tolist()),
        nodules.diameter_mm.tolist(),
        *nodules.centre_mm.T.tolist(),
        strict=True,
    )
    return [dict(zip(LESION_COLUMNS, row, strict=True)) for row in rows]


def mark_froc_rows(matched: MatchedMarks) -> list[Row]:
    """The points of the FROC, most confident first."""
    curve = froc_curve(matched.candidates())
    points = zip(curve.threshold.tolist(), curve.fp_per_scan.tolist(), curve.sensitivity.tolist(), strict=True)
    return [dict(zip(FROC_COLUMNS, (RULE, *point), strict=True)) for point in points]
