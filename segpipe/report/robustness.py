"""The page of a robustness test: how much is lost by what, at a glance, in tables, and in the cases that lose most."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.evaluation.robustness import ATTACKED, CORRUPTED, curves_of, show_level
from segpipe.report.page import pictures, render
from segpipe.report.style import BLUE, FAINT, house_style, new_figure, quiet, titled
from segpipe.report.tables import Table, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
PAGE = "report.html"
NAMES = {"dice": "Dice", "recall": "recall of lesions", "false_positives": "false positives a scan"}
_COLUMNS = 4


def write_robustness(folder: Path, summary: Row, *, overlays: "Mapping[str, Figure]") -> Path:
    """Writes `report.html` into a folder; complete or not at all.

    Args:
        folder: Where the page goes.
        summary: The content of `summary.json`.
        overlays: Pictures of the cases that lose most.

    Raises:
        OutputError: when the page cannot be written.
    """
    charts = {name: draw_degradation(summary, name) for name in NAMES if any(_ceiling(summary, name))}
    facts = ("data", "data_hash", "recipe_digest", "split", "cases", "patients", "failed_cases", "segpipe_version")
    return render(
        folder / PAGE,
        "robustness.html",
        title=f"Robustness on {summary['data']}",
        phantom="phantom" in str(summary["data"]).lower(),
        facts=[(name.replace("_", " "), str(summary[name])) for name in facts if summary.get(name) is not None],
        headline=headline(summary),
        charts=pictures(charts),
        corruptions=_curve_table(summary[CORRUPTED], "corruption"),
        attacks=_curve_table(summary[ATTACKED], "attack"),
        overlays=pictures(overlays),
        worst=table([_worst(row, summary) for row in (*summary["worst"], *summary["worst_attacked"])]),
    )


def headline(summary: Row) -> list[tuple[str, str, str]]:
    """Name, clean → corrupted, and the interval of the latter, of each figure; then the loss of Dice; so of attacks."""
    return [*_tiles(summary, "mean_corrupted", ""), *_tiles(summary, "mean_attacked", ", attacked")]


def _tiles(summary: Row, mean: str, ending: str) -> list[tuple[str, str, str]]:
    found = []
    for name, words in NAMES.items():
        clean, changed = summary["clean"][name], summary[mean][name]
        if clean["mean"] is not None and changed["mean"] is not None:
            found.append((f"{words}{ending}", f"{clean['mean']:.3f} → {changed['mean']:.3f}", _ends(changed)))
    drop = summary[mean]["drop"]
    if drop["mean"] is not None:
        found.append((f"mean loss of Dice{ending}", f"{drop['mean']:.3f}", _ends(drop)))
    return found


def draw_degradation(summary: Row, name: str) -> "Figure":
    """A panel for each change: a figure by severity with its 95 % interval, and that of the scans as they are.

    Args:
        summary: The content of `summary.json`.
        name: `dice`, `recall` or `false_positives`.
    """
    curves = curves_of(summary)
    rows = max(1, math.ceil(len(curves) / _COLUMNS))
    most = max(_ceiling(summary, name))
    with house_style():
        figure = new_figure(3.0 * _COLUMNS, 2.1 * rows + 0.4)
        title = f"{NAMES[name][:1].upper()}{NAMES[name][1:]} by severity"
        figure.suptitle(titled(title, str(summary["data"])), x=0.01, ha="left", fontweight="bold")
        for number, (corruption, found) in enumerate(curves.items(), start=1):
            axes = figure.add_subplot(rows, _COLUMNS, number)
            _draw(axes, found, summary["clean"][name]["mean"], name)
            quiet(axes, title=corruption.replace("_", " "), x=found["unit"])
            axes.set_ylim(0, 1.02 if name != "false_positives" else most * 1.08 + 0.01)
    return figure


def _draw(axes: "Axes", found: Row, clean: float, name: str) -> None:
    rows = [row for row in found["severities"] if row[name]["mean"] is not None]
    at = [row["severity"] for row in rows]
    axes.axhline(clean, color=FAINT, linestyle="--", linewidth=1)
    axes.plot(at, [row[name]["mean"] for row in rows], marker="o", color=BLUE, markersize=3.5)
    known = [row for row in rows if row[name]["ci95"]]
    low, high = ([row[name]["ci95"][end] for row in known] for end in (0, 1))
    axes.fill_between([row["severity"] for row in known], low, high, color=BLUE, alpha=0.18, linewidth=0)
    axes.set_xticks(at, [show_level(row["level"]) for row in rows])


def _ceiling(summary: Row, name: str) -> list[float]:
    curves = curves_of(summary).values()
    found = [summary["clean"][name], *(row[name] for one in curves for row in one["severities"])]
    return [(figure["ci95"] or (0, figure["mean"]))[1] for figure in found if figure["mean"] is not None]


def _curve_table(curves: Row, kind: str) -> Table:
    return table(list(_rows(curves, kind)), right=("mean Dice", "mean loss", *map(str, range(1, 6))))


def _rows(curves: Row, kind: str) -> "list[dict[str, Any]]":
    found = []
    for name, row in curves.items():
        severities = {str(one["severity"]): one["dice"]["mean"] for one in row["severities"]}
        means = {"mean Dice": row["mean_dice"], "mean loss": row["mean_drop"]["mean"]}
        levels = ", ".join(show_level(one["level"]) for one in row["severities"])
        found.append({kind: name.replace("_", " "), **severities, **means, "levels": f"{levels} {row['unit']}",
                      "why these": row["source"]})  # fmt: skip
    return found


def _worst(row: Row, summary: Row) -> dict[str, Any]:
    name = row["corruption"]
    level = f"{show_level(row['level'])} {curves_of(summary)[name]['unit']}"
    return {"case": row["case"], "corruption": name.replace("_", " "), "level": level,
            "Dice as it is": row["clean_dice"], "Dice": row["dice"]}  # fmt: skip


def _ends(figure: Row) -> str:
    ends: Sequence[float] | None = figure["ci95"]
    return f"{ends[0]:.3f} … {ends[1]:.3f}" if ends else ""
