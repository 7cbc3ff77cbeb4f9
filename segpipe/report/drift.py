"""The page of a drift check: the distribution of each quantity in the stored and the new scans."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.report.page import pictures, render
from segpipe.report.style import BLUE, VERMILION, house_style, new_figure, quiet
from segpipe.report.tables import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
_COLUMNS = 4


def write_drift(folder: Path, report: Mapping[str, Any], words: Mapping[str, str], *, verdict: str) -> Path:
    """Writes `report.html` into a folder; complete or not at all.

    Args:
        folder: Where the page goes.
        report: The content of `drift.json`.
        words: Quantity → what it is.
        verdict: What was found, in a line.

    Raises:
        OutputError: when the page cannot be written.
    """
    scans = report["scans"]
    tiles = [("drift", "yes" if report["drift"] else "none found", verdict)]
    tiles += [(f"{name} scans", str(scans[name]), "") for name in ("stored", "new")]
    rows = [
        {
            "quantity": words.get(shift["quantity"], shift["quantity"]),
            "stored": shift["stored"],
            "new": shift["new"],
            "effect": shift["effect"],
            "q": shift["q"],
            "drift": "yes" if shift["drifted"] else "",
        }
        for shift in report["shifts"]
    ]
    return render(
        folder / PAGE,
        "drift.html",
        title=f"Drift of {report['data']}",
        phantom="phantom" in str(report["data"]).lower(),
        facts=[("stored scans of", str(report["model_data"])), ("segpipe", str(report["segpipe_version"]))],
        headline=tiles,
        charts=pictures({"distributions": draw_distributions(report, words)}),
        shifts=table(rows),
        level=report["level"],
        least=report["least_effect"],
    )


def draw_distributions(report: Mapping[str, Any], words: Mapping[str, str]) -> "Figure":
    """A panel for each quantity, what has moved most first: the share of scans up to each value."""
    names = [shift["quantity"] for shift in report["shifts"]]
    drifted = set(report["drifted"])
    with house_style():
        figure = new_figure(3.0 * _COLUMNS, 2.1 * max(1, math.ceil(len(names) / _COLUMNS)) + 0.3)
        for number, name in enumerate(names, start=1):
            axes = figure.add_subplot(math.ceil(len(names) / _COLUMNS), _COLUMNS, number)
            for what, colour in (("stored", BLUE), ("new", VERMILION)):
                axes.step(*_steps(report[what][name]), where="post", color=colour, label=what)
            quiet(axes, title=f"{words.get(name, name)}{' ✱' if name in drifted else ''}")
            axes.set_ylim(0, 1.02)
            if number == 1:
                axes.legend()
    return figure


def _steps(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Where the share of values rises, and to what.

    >>> _steps([1.0, 3.0])
    ([1.0, 1.0, 3.0], [0.0, 0.5, 1.0])
    """
    ordered = sorted(values)
    return [ordered[0], *ordered], [number / len(ordered) for number in range(len(ordered) + 1)]
