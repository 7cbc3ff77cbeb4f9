"""The files of an evaluation: `summary.json`, `cases.csv`, `lesions.csv`, `froc.csv`, `froc_by_diameter.csv`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.evaluation.detection.froc import FP_RATES, RULES, collect_marks, froc_curve
from segpipe.evaluation.results import CaseResult, PredictedLesion, ReferenceLesion, group_by_hit
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.csv_table import write_csv

Row = dict[str, Any]
CASE_COLUMNS = ("case", "patient", "empty")
CLASS_COLUMNS = ("case", "patient", "class", "empty")
LESION_COLUMNS = ("case", "patient", "kind", "number", "matched", "diameter_mm", "volume_mm3", "overlap", "probability")
FROC_COLUMNS = ("rule", "threshold", "fp_per_scan", "sensitivity")
FROC_BY_DIAMETER_COLUMNS = (
    *("rule", "diameter", "lesions"),
    *(f"sensitivity_at_{rate:g}" for rate in FP_RATES),
    *("cpm", "cpm_low", "cpm_high"),
)
_WHAT = "the evaluation"


def write_evaluation(folder: Path, results: Sequence[CaseResult], summary: Mapping[str, Any]) -> None:
    """Writes `summary.json`, `cases.csv`, `lesions.csv`, `froc.csv` and `froc_by_diameter.csv`, complete or not at all.

    Several classes have `classes.csv`, too.

    Raises:
        OutputError: when a file cannot be written.
    """
    write_csv(folder / "cases.csv", case_rows(results), CASE_COLUMNS, what=_WHAT)
    if classes := class_rows(results):
        write_csv(folder / "classes.csv", classes, CLASS_COLUMNS, what=_WHAT)
    write_csv(folder / "lesions.csv", lesion_rows(results), LESION_COLUMNS, what=_WHAT)
    write_csv(folder / "froc.csv", froc_rows(results), FROC_COLUMNS, what=_WHAT)
    write_froc_by_diameter(folder, summary["detection"] or {})
    write_json(folder / "summary.json", summary, what=_WHAT)


def write_froc_by_diameter(folder: Path, detection: Mapping[str, Any]) -> None:
    """Writes `froc_by_diameter.csv`: sensitivity along the FROC for each rule and stratum of diameters.

    Args:
        folder: Where it goes.
        detection: The part `detection` of `summary.json`.

    Raises:
        OutputError: when it cannot be written.
    """
    rows = froc_by_diameter_rows(detection)
    write_csv(folder / "froc_by_diameter.csv", rows, FROC_BY_DIAMETER_COLUMNS, what=_WHAT)


def case_rows(results: Sequence[CaseResult]) -> list[Row]:
    """One row per case: its figures, volumes, lesion counts and further facts; of all classes together."""
    return [{"case": result.case, "patient": result.patient, **_case_row(result)} for result in results]


def class_rows(results: Sequence[CaseResult]) -> list[Row]:
    """One row per case and class; none where there is but one class."""
    return [
        {"case": result.case, "patient": result.patient, "class": name, **_case_row(own)}
        for result in results
        for name, own in result.classes.items()
    ]


def lesion_rows(results: Sequence[CaseResult]) -> list[Row]:
    """One row per lesion of the reference and one per predicted lesion without a counterpart (column `kind`).

    Where there are several classes these are the lesions of each class (column `class`).
    """
    return [
        {"case": result.case, "patient": result.patient, **({"class": name} if name else {}), **row, **_facts(result)}
        for result in results
        for name, own in result.by_class().items()
        for row in [*_reference_rows(own), *_false_positive_rows(own)]
    ]


def froc_rows(results: Sequence[CaseResult]) -> list[Row]:
    """The points of the FROC curves by overlap and by centre; none when confidences are not known."""
    rows: list[Row] = []
    for rule in RULES:
        marks = collect_marks(results, rule)
        if marks is None or not marks.lesions.sum():
            continue
        curve = froc_curve(marks)
        points = zip(curve.threshold.tolist(), curve.fp_per_scan.tolist(), curve.sensitivity.tolist(), strict=True)
        rows += [dict(zip(FROC_COLUMNS, (rule, *point), strict=True)) for point in points]
    return rows


def froc_by_diameter_rows(detection: Mapping[str, Any]) -> list[Row]:
    """One row per rule and stratum of diameters: its lesions, sensitivity at the seven rates, and their mean.

    Args:
        detection: The part `detection` of `summary.json`.
    """
    return [
        {
            "rule": rule,
            "diameter": diameter,
            "lesions": row["lesions"],
            **{f"sensitivity_at_{rate}": value for rate, value in row["sensitivity_at_fp_per_scan"].items()},
            "cpm": row["cpm"],
            **dict(zip(("cpm_low", "cpm_high"), row["cpm_ci95"] or (), strict=False)),
        }
        for rule, froc in detection.items()
        for diameter, row in froc["by_diameter"].items()
    ]


def _case_row(result: CaseResult) -> Row:
    return {
        "empty": result.empty,
        **result.figures,
        "reference_mm3": result.reference_mm3,
        "predicted_mm3": result.predicted_mm3,
        "tp": result.true_positives,
        "fp": result.false_positives,
        "fn": result.false_negatives,
        **_facts(result),
    }


def _facts(result: CaseResult) -> Row:
    return {f"extra_{name}": value for name, value in (result.extra or {}).items()}


def _reference_rows(result: CaseResult) -> Iterator[Row]:
    matches = {candidate.number: candidate for candidate in result.candidates if candidate.matched is not None}
    by_centre = group_by_hit(result.candidates)
    for lesion in result.lesions:
        match = matches.get(lesion.matched or 0)
        yield {
            **_measurements("reference", lesion),
            "hits_by_centre": " ".join(str(candidate.number) for candidate in by_centre.get(lesion.number, [])),
            "matched_diameter_mm": match.diameter_mm if match else None,
            "matched_volume_mm3": match.volume_mm3 if match else None,
        }


def _false_positive_rows(result: CaseResult) -> Iterator[Row]:
    for candidate in result.candidates:
        if candidate.matched is None:
            numbers = " ".join(str(number) for number in candidate.hits)
            yield {**_measurements("prediction", candidate), "hits_by_centre": numbers}


def _measurements(kind: str, lesion: ReferenceLesion | PredictedLesion) -> Row:
    x, y, z = lesion.centre_mm
    return {
        "kind": kind,
        "number": lesion.number,
        "matched": lesion.matched,
        "diameter_mm": lesion.diameter_mm,
        "volume_mm3": lesion.volume_mm3,
        "overlap": lesion.overlap,
        "probability": lesion.probability,
        "centre_x_mm": x,
        "centre_y_mm": y,
        "centre_z_mm": z,
    }
