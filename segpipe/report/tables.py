"""Tables of a page: plain rows become cells that read well and sort by their numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
DASH = "–"
_TITLES = {
    "dice": "Dice",
    "iou": "IoU",
    "nsd": "NSD",
    "f1": "F1",
    "cpm": "CPM",
    "ece": "ECE",
    "ece_ci95": "ECE, 95 % interval",
    "ece_calibrated": "ECE, calibrated",
    "ece_calibrated_ci95": "ECE, calibrated, 95 % interval",
    "aurc": "AURC",
    "excess_aurc": "excess AURC",
    "tp": "found",
    "fp": "false positives",
    "fn": "missed",
    "hd95_mm": "HD95, mm",
    "volume_error_pct": "volume error, %",
    "reference_mm3": "reference, mm³",
    "predicted_mm3": "predicted, mm³",
    "volume_mm3": "volume, mm³",
    "diameter_mm": "diameter, mm",
    "ci95": "95 % interval",
    "fp_per_scan": "false positives per scan",
}


@dataclass(frozen=True)
class Cell:
    """What a table shows, the value it is sorted by where that is another, and its CSS class."""

    text: str
    value: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Column:
    """The head of a column; `text` columns are set flush left."""

    name: str
    text: bool = False


@dataclass(frozen=True)
class Table:
    """A table of a page."""

    columns: list[Column]
    rows: list[list[Cell]]


def table(rows: Sequence[Row], *, columns: Sequence[str] | None = None, right: Sequence[str] = ()) -> Table:
    """Sets rows as a table.

    Args:
        rows: The rows; a missing value is a dash.
        columns: The keys to show, in this order; all by default.
        right: Keys whose texts are set flush right, as figures are.
    """
    keys = list(columns) if columns is not None else list(dict.fromkeys(key for row in rows for key in row))
    texts = [key not in right and any(isinstance(row.get(key), str) for row in rows) for key in keys]
    heads = [Column(column_title(key), text) for key, text in zip(keys, texts, strict=True)]
    cells = [[cell(row.get(key), text=head.text) for key, head in zip(keys, heads, strict=True)] for row in rows]
    return Table(heads, cells)


def cell(value: Any, *, text: bool = False) -> Cell:
    """Sets one value."""
    shown = show(value)
    exact = f"{value:.6g}" if isinstance(value, float) and shown != DASH else ""
    return Cell(shown, exact, "text" if text else "")


def show(value: Any) -> str:
    """A value as a reader wants it: three significant places, intervals with a dash, nothing for unknown.

    >>> [show(value) for value in (0.81234, 1234.5, 12, None, [0.7, 0.9])]
    ['0.812', '1234', '12', '–', '0.700 to 0.900']
    """
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _show_float(value)
    if isinstance(value, list | tuple):
        return (" to " if len(value) == 2 else ", ").join(map(show, value))
    return str(value)


def column_title(key: str) -> str:
    """The head of a column.

    >>> [column_title(key) for key in ("hd95_mm", "extra_texture", "centre_x_mm")]
    ['HD95, mm', 'texture', 'centre x, mm']
    """
    if key in _TITLES:
        return _TITLES[key]
    words = key.removeprefix("extra_")
    if words.endswith("_ci95"):
        return _TITLES["ci95"]
    for unit in ("mm3", "mm"):
        if words.endswith(f"_{unit}"):
            return f"{words.removesuffix(f'_{unit}').replace('_', ' ')}, {unit.replace('3', '³')}"
    return words.replace("_", " ")


def _show_float(value: float) -> str:
    if not math.isfinite(value):
        return DASH
    size = abs(value)
    shown = f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3f}"
    return shown.replace("-", "−")
