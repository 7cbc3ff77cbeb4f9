"""The table that says which patient a case is of, and what else is known of it."""

import csv
from pathlib import Path
from typing import Any

from segpipe.errors import DatasetError


def read_case_table(file: Path) -> dict[str, dict[str, Any]]:
    """Case → the other columns of a CSV table, numbers as numbers.

    Raises:
        DatasetError: when the table cannot be read or lacks `case` or `patient`.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError("the table of cases cannot be read", facts={"file": file, "found": error}) from error
    columns = set(rows[0]) if rows else set()
    if not {"case", "patient"} <= columns:
        raise DatasetError(
            "the table of cases must have the columns case and patient",
            facts={"file": file, "found": ", ".join(sorted(map(str, columns))) or "no row"},
        )
    return {row["case"]: {name: _number(value) for name, value in row.items() if name != "case"} for row in rows}


def _number(text: Any) -> Any:
    try:
        return float(text) if text not in (None, "") else None
    except (TypeError, ValueError):
        return text
