"""The page of a comparison: which run is better, by how much, where, and the cases that show it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.evaluation.comparison.compare import SIGNIFICANT, SMALLER_IS_BETTER
from segpipe.evaluation.comparison.text import NAMES, figure_rows, p_value, signed, verdict
from segpipe.evaluation.text_summary import number
from segpipe.report.page import packed, pictures, render
from segpipe.report.style import BLUE, FAINT, VERMILION, house_style, new_figure, quiet, titled
from segpipe.report.tables import Table, show, table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from segpipe.report.case_views import CaseView

Row = Mapping[str, Any]
PAGE = "comparison.html"
_FIGURES = ("B − A", "ci95", "p", "p (Holm)", "B better / equal / worse")
_NOT_BETWEEN_0_AND_1 = ("HD95, mm", "size of volume error, %")


def write_comparison(
    folder: Path,
    report: Row,
    *,
    charts: "Mapping[str, Figure] | None" = None,
    overlays: "Mapping[str, Figure] | None" = None,
    views: "Mapping[str, CaseView] | None" = None,
) -> Path:
    """Writes `comparison.html` into a folder; complete or not at all.

    Args:
        folder: Where the page goes.
        report: What `segpipe.evaluation.comparison.compare.compare` returns.
        charts: Name → figure of the comparison, e.g. from `draw_comparison`.
        overlays: Name → picture of the cases in which the first pair differs most.
        views: Name of an overlay → what a click on it opens; without it the picture is enlarged only.

    Raises:
        OutputError: when the page cannot be written.
    """
    metric = report["metric"]
    return render(
        folder / PAGE,
        "comparison.html",
        title=" against ".join(run["name"] for run in report["runs"]),
        phantom=any("phantom" in str(run["data"]).lower() for run in report["runs"]),
        notes=report["notes"],
        best=f"Best by mean {NAMES[metric]} over the cases all runs share: {report['best']}",
        runs=table([_run(run) for run in report["runs"]]),
        pairs=[
            {
                "title": f"{pair['second']} against {pair['first']}",
                "first": pair["first"],
                "second": pair["second"],
                "verdict": _minus(verdict(pair, metric)),
                "shared": f"{pair['cases_shared']} shared cases of {pair['patients_shared']} patients",
                "figures": table([_figure(name, row) for name, row in figure_rows(pair)], right=_FIGURES),
                "froc": _froc(pair),
                "strata": _strata(pair),
                "cases": table([{"case": row["case"], **_sides(row)} for row in pair["cases"]], right=_FIGURES),
            }
            for pair in report["pairs"]
        ],
        metric=NAMES[metric],
        charts=pictures(charts or {}),
        overlays=pictures(overlays or {}),
        views=packed(views),
    )


def draw_comparison(report: Row, first: Sequence[Row], second: Sequence[Row]) -> "dict[str, Figure]":
    """Draws the first pair of a comparison: its differences with intervals, and both runs case by case.

    Args:
        report: What `compare` returns.
        first: Rows of `cases.csv` of the pair's first run.
        second: Rows of `cases.csv` of its second run.
    """
    pair, metric = report["pairs"][0], report["metric"]
    return {"differences": _draw_differences(pair), "cases": _draw_cases(pair, metric, first, second)}


def _draw_differences(pair: Row) -> "Figure":
    rows = [(name, row) for name, row in figure_rows(pair) if name not in _NOT_BETWEEN_0_AND_1 and row["ci95"]]
    with house_style():
        figure = new_figure(5.2, 1.3 + 0.3 * max(4, len(rows)))
        axes = figure.add_subplot()
        axes.axvline(0, color=FAINT, lw=1.0)
        for name, colour in (("p (Holm) < 0.05", BLUE), ("may be luck", FAINT)):
            axes.plot([], [], "-o", color=colour, lw=2.2, ms=5, label=name)
        for place, (_, row) in enumerate(rows):
            colour = BLUE if row["p_holm"] is not None and row["p_holm"] < SIGNIFICANT else FAINT
            axes.plot(row["ci95"], [place, place], color=colour, lw=2.2, solid_capstyle="round")
            axes.plot([row["difference"]], [place], "o", color=colour, ms=5)
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.invert_yaxis()
        quiet(axes, title="Differences with 95 % intervals", x="B − A")
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_cases(pair: Row, metric: str, first: Sequence[Row], second: Sequence[Row]) -> "Figure":
    others = {row["case"]: row[metric] for row in second if row.get(metric) is not None}
    points = [
        (float(row[metric]), float(others[row["case"]]))
        for row in first
        if row.get(metric) is not None and row["case"] in others
    ]
    worse = [(a, b) for a, b in points if (b < a) != (metric in SMALLER_IS_BETTER) and a != b]
    fine = [point for point in points if point not in worse]
    with house_style():
        figure = new_figure(5.2, 4.0)
        axes = figure.add_subplot()
        for members, colour, name in ((fine, BLUE, "better or equal"), (worse, VERMILION, "worse")):
            caption = f"B {name} ({len(members)})"
            axes.scatter(
                [a for a, _ in members], [b for _, b in members], s=22, color=colour, alpha=0.75, lw=0, label=caption
            )
        low, high = min(map(min, points)), max(map(max, points))
        axes.plot([low, high], [low, high], color=FAINT, lw=1.0)
        quiet(
            axes, title=titled(f"{NAMES[metric]} of each case", None), x=f"A: {pair['first']}", y=f"B: {pair['second']}"
        )
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _run(run: Row) -> dict[str, Any]:
    names = {"name": "run", "data": "data", "data_hash": "data hash", "cases": "cases", "failed_cases": "left out"}
    return {title: run[key] for key, title in names.items()}


def _sides(row: Row) -> dict[str, Any]:
    return {"A": row["first"], "B": row["second"], "B − A": _minus(signed(row["difference"]))}


def _minus(text: str) -> str:
    """The text with true minus signs in front of numbers; dates keep their hyphens."""
    return re.sub(r"(?<![\w-])-(?=\d)", "−", text)


def _figure(name: str, row: Row) -> dict[str, Any]:
    counts = f"{row['wins']} / {row['ties']} / {row['losses']}" if "wins" in row else ""
    return {
        "figure": name,
        **_sides(row),
        "ci95": row["ci95"],
        "p": p_value(row["p"]),
        "p (Holm)": p_value(row.get("p_holm")),
        "B better / equal / worse": counts,
    }


def _froc(pair: Row) -> Table:
    """Sensitivity at each rate of false positives per scan in A, and in B."""
    rows = [
        {
            "matched": f"by {rule}",
            "diameter": diameter,
            "lesions": row["lesions"],
            **{
                rate: f"{number(before, 2)} → {number(row['second'][rate], 2)}" for rate, before in row["first"].items()
            },
        }
        for rule, sizes in pair["froc"].items()
        for diameter, row in sizes.items()
    ]
    rates = [key for row in rows for key in row if key not in ("matched", "diameter")]
    return table(rows, right=rates)


def _strata(pair: Row) -> Table:
    return table(
        [
            {
                "lesions by": kind,
                "stratum": stratum,
                "lesions": row["lesions"],
                **_sides(row),
                "ci95": show(row["ci95"]),
                "p (Holm)": p_value(row["p_holm"]),
                "differ": "yes" if row["differs"] else "no",
            }
            for kind, strata in pair["strata"].items()
            for stratum, row in strata.items()
        ],
        right=_FIGURES,
    )
