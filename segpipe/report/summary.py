"""The headline figures and tables of an evaluation's summary, ready for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segpipe.report.tables import Table, column_title, show, table

Summary = Mapping[str, Any]
_HEADLINES = (
    ("Dice, mean", ("metrics", "dice", "mean"), ("metrics", "dice", "ci95")),
    ("Dice, mean over classes", ("class_means", "dice"), ()),
    ("NSD, mean", ("metrics", "nsd", "mean"), ("metrics", "nsd", "ci95")),
    ("Lesion F1", ("lesions", "f1"), ("lesions", "ci95", "f1")),
    ("Lesion recall", ("lesions", "recall"), ("lesions", "ci95", "recall")),
    ("Lesion precision", ("lesions", "precision"), ("lesions", "ci95", "precision")),
    ("CPM", ("detection", "overlap", "cpm"), ("detection", "overlap", "cpm_ci95")),
    ("CPM", ("cpm",), ("cpm_ci95",)),
)
_MEANINGS = (
    (("metrics", "dice", "mean"), "Dice: overlap of voxels, from 0 to 1."),
    (("metrics", "nsd", "mean"), "NSD: the part of both surfaces within {tolerance} of the other."),
    (("lesions", "recall"), "Recall: lesions found; precision: findings that are lesions; F1 weighs both."),
    (("detection", "overlap", "cpm"), "CPM: mean sensitivity at 1/8 to 8 false positives per scan."),
    (("cpm",), "CPM: mean sensitivity at 1/8 to 8 false positives per scan."),
)
_DATA = ("data", "data_hash", "recipe_digest", "cases", "patients", "failed_cases")
_RULES = {"overlap": "by overlap", "centre": "by centre"}


@dataclass(frozen=True)
class Bar:
    """An interval between 0 and 1, in percent of a tile's width."""

    start: float
    width: float
    at: float


@dataclass(frozen=True)
class Tile:
    """One headline figure."""

    name: str
    value: str
    range: str = ""
    bar: Bar | None = None


@dataclass(frozen=True)
class Part:
    """A table with a title."""

    title: str
    table: Table

    @property
    def wide(self) -> bool:
        """Whether the table needs the whole page."""
        return len(self.table.columns) > 7


def tiles(summary: Summary) -> list[Tile]:
    """The headline figures that the summary has, each with its interval."""
    found = [_tile(name, look_up(summary, path), look_up(summary, interval)) for name, path, interval in _HEADLINES]
    counted = Tile("Cases", show(summary.get("cases")), f"of {show(summary.get('patients'))} patients")
    return [*(item for item in found if item), counted]


def explanations(summary: Summary) -> list[str]:
    """What the names of the headline figures mean, for those that the summary has."""
    known = look_up(summary, ("metrics", "nsd", "tolerance_mm"))
    tolerance = f"{known:g} mm" if known else "a tolerance"
    meanings = [text for path, text in _MEANINGS if isinstance(look_up(summary, path), int | float)]
    return [text.format(tolerance=tolerance) for text in meanings]


def parts(summary: Summary) -> list[Part]:
    """Every table of the summary that has rows."""
    over = "Overlap and distance, over cases" + (", all classes together" if summary.get("classes") else "")
    found = [
        Part("By class", _classes(summary.get("classes") or {})),
        Part(over, _figures(summary.get("metrics") or {})),
        Part("Lesions", _lesions(summary)),
        Part("Detection", _detection(summary.get("detection") or {})),
        Part(
            "Sensitivity at false positives per scan, by diameter of the lesion",
            _detection_by_diameter(summary.get("detection") or {}),
        ),
        Part("Calibration", _calibration(summary.get("calibration") or {})),
        Part("Lesions by kind", _strata(summary.get("strata") or {})),
    ]
    return [part for part in found if part.table.rows]


def notes(summary: Summary) -> list[tuple[str, str]]:
    """Rules that the figures follow, and how many cases had empty masks."""
    empty = summary.get("empty") or {}
    counted = [(f"empty: {column_title(name)}", show(count)) for name, count in empty.items()]
    rules = [(column_title(name), str(text)) for name, text in (summary.get("policy") or {}).items()]
    return [*counted, *rules]


def data_facts(summary: Summary) -> list[tuple[str, str]]:
    """Which data were used and how they were split.

    >>> data_facts({"data": "a", "split": {"train": 7, "test": 2, "fold": None}})
    [('data', 'a'), ('split: train', '7'), ('split: test', '2')]
    """
    named = [(name.replace("_", " "), summary.get(name)) for name in _DATA]
    split = summary.get("split") or {}
    if not isinstance(split, Mapping):
        split = {"chosen": split}
    parts_of_split = [(f"split: {key.replace('_', ' ')}", value) for key, value in split.items()]
    return [(name, show(value)) for name, value in (*named, *parts_of_split) if value is not None]


def look_up(summary: Summary, path: Sequence[str]) -> Any:
    """The value at a path of keys; None where there is none."""
    found: Any = summary
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _tile(name: str, value: Any, interval: Any) -> Tile | None:
    if not isinstance(value, int | float):
        return None
    if not isinstance(interval, list | tuple):
        return Tile(name, show(float(value)), "", None)
    low, high = interval
    bar = Bar(round(100 * low, 1), round(100 * (high - low), 1), round(100 * value - 0.6, 1))
    return Tile(name, show(float(value)), show(list(interval)), bar)


def _figures(metrics: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = ("mean", "ci95", "median", "std", "n")
    return table(
        [{"figure": column_title(name), **{key: row.get(key) for key in keys}} for name, row in metrics.items()]
    )


def _classes(classes: Mapping[str, Summary]) -> Table:
    rows = []
    for name, figures in classes.items():
        voxels = {key: look_up(figures, ("metrics", key, "mean")) for key in ("dice", "nsd", "hd95_mm")}
        lesions = {key: look_up(figures, ("lesions", key)) for key in ("f1", "tp", "fn", "fp")}
        cpm = look_up(figures, ("detection", "overlap", "cpm"))
        interval = look_up(figures, ("metrics", "dice", "ci95"))
        rows.append({"class": name, "dice": voxels.pop("dice"), "ci95": interval, **voxels, **lesions, "CPM": cpm})
    return table(rows)


def _lesions(summary: Summary) -> Table:
    lesions = summary.get("lesions") or {}
    intervals = lesions.get("ci95") or {}
    rows = [
        {"figure": column_title(name), "value": value, "ci95": intervals.get(name)}
        for name, value in lesions.items()
        if name != "ci95"
    ]
    return table(rows)


def _strata(strata: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    return table([{"by": name, "kind": kind, **row} for name, groups in strata.items() for kind, row in groups.items()])


def _detection(detection: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for rule, row in detection.items():
        precision = row.get("average_precision")
        rows.append(
            {"matched": _RULES.get(rule, rule), **_along_rates(row, unit=" fp/scan"), "average precision": precision}
        )
    return table(rows)


def _detection_by_diameter(detection: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = [
        {
            "matched": _RULES.get(rule, rule),
            "diameter": diameter,
            "lesions": row.get("lesions"),
            **_along_rates(row),
            "cpm_ci95": row.get("cpm_ci95"),
        }
        for rule, froc in detection.items()
        for diameter, row in (froc.get("by_diameter") or {}).items()
    ]
    return table(rows)


def _calibration(calibration: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for voxels and one for findings."""
    names = ("count", "ece", "ece_ci95", "ece_calibrated", "ece_calibrated_ci95", "aurc", "excess_aurc")
    rows = [{"of": what, **{name: found.get(name) for name in names}} for what, found in calibration.items()]
    return table(rows)


def _along_rates(row: Mapping[str, Any], *, unit: str = "") -> dict[str, Any]:
    rates = row.get("sensitivity_at_fp_per_scan") or {}
    return {**{f"{rate}{unit}": value for rate, value in rates.items()}, "CPM": row.get("cpm")}
