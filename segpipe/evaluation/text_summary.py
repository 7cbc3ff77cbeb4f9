"""An evaluation in a few lines of text, for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from segpipe.evaluation.measures.surface import NSD_TOLERANCE_MM

_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
    "nsd": f"NSD at {NSD_TOLERANCE_MM:g} mm",
    "hd95_mm": "HD95, mm",
    "volume_error_pct": "volume error, %",
}


def describe(summary: Mapping[str, Any]) -> str:
    """The main figures with their intervals.

    Args:
        summary: The content of `summary.json`.
    """
    metrics = [_row(_NAMES[name], figure) for name, figure in summary["metrics"].items() if name in _NAMES]
    header = ("per case", "mean", "95 % interval", "median", "n")
    together = [_headline(summary), *seen_warning(summary), *align([header, *metrics]), *_lesions(summary)]
    return "\n".join([*together, *_calibration(summary), *_classes(summary), *_notes(summary)])


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column flush left, the others flush right.

    >>> align([("a", "mean"), ("bcd", "1")])
    ['a    mean', 'bcd     1']
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    ]


def number(value: float | None, digits: int = 3) -> str:
    """A figure as text; a dash where it is undefined."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None, digits: int = 3) -> str:
    """An interval as text; a dash where there is none."""
    return "–" if bounds is None else f"{bounds[0]:.{digits}f} … {bounds[1]:.{digits}f}"


def seen_warning(summary: Mapping[str, Any]) -> list[str]:
    """A line where the evaluated model knows cases from its training, on which it does better than on new ones."""
    seen = summary.get("seen_cases") or {}
    words = {"train": "trained on {}", "val": "given {} in validation"}
    known = [text.format(seen[role]) for role, text in words.items() if seen.get(role)]
    if not known:
        return []
    cases = f"WARNING: of these {seen['of']} cases the model was {' and '.join(known)}"
    return [f"{cases}; their figures say little of new cases"]


def cpm_by_diameter(froc: Mapping[str, Any]) -> list[str]:
    """A line with the CPM of the lesions of each diameter, and how many they are."""
    rows = froc["by_diameter"].items()
    sizes = [f"{diameter} {number(row['cpm'])} of {row['lesions']}" for diameter, row in rows]
    return [f"  CPM by diameter: {', '.join(sizes)}"] * bool(sizes)


def _headline(summary: Mapping[str, Any]) -> str:
    words = f"{summary['cases']} cases of {summary['patients']} patients"
    if summary.get("failed_cases"):
        words += f", {summary['failed_cases']} left out"
    return f"{words}, in each scan's own space"


def _row(name: str, figure: Mapping[str, Any]) -> tuple[str, ...]:
    values = (number(figure["mean"]), interval(figure["ci95"]), number(figure["median"]))
    return (name, *values, str(figure["n"]))


def _lesions(summary: Mapping[str, Any]) -> list[str]:
    lesions = summary["lesions"]
    counts = f"lesions: {lesions['tp']} found, {lesions['fn']} missed, {lesions['fp']} false"
    ratios = [
        f"{name} {number(lesions[key])} ({interval(lesions['ci95'][key])})"
        for name, key in (("F1", "f1"), ("recall", "recall"), ("precision", "precision"))
    ]
    return [counts, "  " + ", ".join(ratios), *_froc(summary)]


def _froc(summary: Mapping[str, Any]) -> list[str]:
    """The CPM; of masks alone why there is none."""
    detection, lesions = (summary.get("detection") or {}).get("centre"), summary["lesions"]
    if detection:
        whole = f"FROC by centre: CPM {number(detection['cpm'])} ({interval(detection['cpm_ci95'])})"
        return [whole, *cpm_by_diameter(detection)]
    lacking = "FROC: none, as masks without probabilities give one point and no curve"
    return [lacking] * bool(lesions["tp"] + lesions["fn"])


def _calibration(summary: Mapping[str, Any]) -> list[str]:
    """How far the confidence of a finding is off, calibrated where the model knows how."""
    findings = (summary.get("calibration") or {}).get("findings")
    if not findings:
        return []
    best = "ece_calibrated" if "ece_calibrated" in findings else "ece"
    error = f"{number(findings[best])} ({interval(findings[f'{best}_ci95'])})"
    kind = "calibrated" if best == "ece_calibrated" else "not calibrated"
    return [f"confidence of findings, {kind}: error (ECE) {error}, AURC {number(findings['aurc'])}"]


def _classes(summary: Mapping[str, Any]) -> list[str]:
    """A table with a line for each class, where there are several; the lines above are of all classes together."""
    classes = summary.get("classes")
    if not classes:
        return []
    rows = [("by class", "Dice", "95 % interval", "F1", "found", "missed", "false")]
    for name, figures in classes.items():
        dice, lesions = figures["metrics"]["dice"], figures["lesions"]
        counts = [str(lesions[key]) for key in ("tp", "fn", "fp")]
        rows.append((name, number(dice["mean"]), interval(dice["ci95"]), number(lesions["f1"]), *counts))
    return align(rows)


def _notes(summary: Mapping[str, Any]) -> list[str]:
    empty = summary["empty"]
    words = {"both": "both masks", "only_reference": "only the reference", "only_prediction": "only the prediction"}
    counted = [f"{words[kind]} in {count}" for kind, count in empty.items() if count]
    return [f"empty masks: {', '.join(counted)} (see `policy` in summary.json)"] if counted else []
