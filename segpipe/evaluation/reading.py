"""Evaluations as their folders hold them, read back to be compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe.errors import DatasetError
from segpipe.evaluation.tables import Row
from segpipe.system.files.csv_table import read_csv
from segpipe.system.files.plain_files import read_json

_TEXT = ("case", "patient", "empty", "kind", "hits_by_centre")
_NEEDED = {
    "cases.csv": ("case", "patient", "dice", "reference_mm3", "tp", "fp", "fn"),
    "lesions.csv": ("case", "patient", "kind", "number", "diameter_mm", "overlap"),
}


@dataclass(frozen=True)
class Evaluation:
    """One evaluation.

    Args:
        name: What it is called in a comparison.
        summary: The content of `summary.json`.
        cases: Rows of `cases.csv`; numbers are numbers, None is unknown.
        lesions: Rows of `lesions.csv`.
    """

    name: str
    summary: Mapping[str, Any]
    cases: list[Row]
    lesions: list[Row]


def read_evaluation(folder: Path, *, name: str) -> Evaluation:
    """Reads the folder of an evaluation.

    Raises:
        DatasetError: when a file is missing, damaged or lacks columns.
    """
    cases, lesions = (_read_table(folder / file) for file in ("cases.csv", "lesions.csv"))
    return build_evaluation(name, _read_summary(folder / "summary.json"), cases, lesions)


def build_evaluation(
    name: str, summary: Mapping[str, Any], cases: Iterable[Mapping[str, Any]], lesions: Iterable[Mapping[str, Any]]
) -> Evaluation:
    """Makes an evaluation of rows as a file or a server holds them.

    Raises:
        DatasetError: when there is no case or a column is missing.
    """
    tables = {"cases.csv": [_row(row) for row in cases], "lesions.csv": [_row(row) for row in lesions]}
    for file, needed in _NEEDED.items():
        missing = sorted(set(needed) - set(tables[file][0])) if tables[file] else []
        if missing:
            raise DatasetError(
                "a table of the evaluation lacks columns",
                facts={"run": name, "table": file, "missing": ", ".join(missing)},
                hint="evaluate the run again with this version",
            )
    if not tables["cases.csv"]:
        raise DatasetError("the evaluation has no case", facts={"run": name})
    return Evaluation(name, summary, tables["cases.csv"], tables["lesions.csv"])


def _read_summary(file: Path) -> dict[str, Any]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DatasetError("the summary cannot be read", facts={"file": file, "found": error}) from error
    if not isinstance(content, dict):
        raise DatasetError("the summary cannot be read", facts={"file": file, "found": type(content).__name__})
    return content


def _read_table(file: Path) -> list[dict[str, str]]:
    try:
        return read_csv(file)[1]
    except (OSError, ValueError) as error:
        raise DatasetError("a table of the evaluation cannot be read", facts={"file": file, "found": error}) from error


def _row(row: Mapping[str, Any]) -> Row:
    return {name: value if name in _TEXT else _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
