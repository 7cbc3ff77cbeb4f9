"""Writes a robustness test into its folder, and says in a few lines what it found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segpipe.evaluation.robustness import Results, curves_of
from segpipe.evaluation.text_summary import align
from segpipe.pipelines.robustness.plan import PICTURES, RobustnessPlan
from segpipe.pipelines.robustness.summary import FIGURES, case_rows, condition_rows
from segpipe.report.robustness import headline, write_robustness
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.csv_table import write_csv

_CONDITION = ("corruption", "severity", "level", "unit")
_ENDS = tuple(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high"))
_CASE = ("case", "patient", "corruption", "severity", "level", "dice", "tp", "fn", "fp")


def write_folder(plan: RobustnessPlan, results: Results, summary: Mapping[str, Any]) -> Path:
    """Writes tables, `summary.json` and the page, which it returns.

    Raises:
        OutputError: when a file cannot be written.
    """
    folder = plan.output
    write_csv(folder / "conditions.csv", condition_rows(summary), (*_CONDITION, *_ENDS), what="the table of conditions")
    write_csv(folder / "cases.csv", case_rows(results), _CASE, what="the table of cases")
    write_json(folder / "summary.json", dict(summary), what="the summary of the test")
    shown = [*summary["worst"][:PICTURES], *summary["worst_attacked"][:PICTURES]]
    return write_robustness(folder, summary, overlays=plan.draw(shown))


def describe_robustness(summary: Mapping[str, Any]) -> str:
    """The figures of scans as they are and of changed ones, and the mean Dice of each change by severity."""
    lines = [f"{summary['cases']} cases of {summary['patients']} patients, as they are → corrupted"]
    lines += [f"{name}  {value}  {ends}".rstrip() for name, value, ends in headline(summary)]
    curves = curves_of(summary)
    severities = [row["severity"] for row in next(iter(curves.values()))["severities"]]
    rows = [_row(name, found) for name, found in curves.items()]
    return "\n".join([*lines, *align([("Dice by severity", *map(str, severities), "mean"), *rows])])


def _row(name: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    values = [*(row["dice"]["mean"] for row in found["severities"]), found["mean_dice"]]
    return name.replace("_", " "), *map(_shown, values)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
