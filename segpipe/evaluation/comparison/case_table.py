"""The table that says which patient a case is of, and what else is known of it."""

from pathlib import Path
from typing import Any

from segpipe.errors import DatasetError
from segpipe.system.files.csv_table import read_csv


def read_case_table(file: Path) -> dict[str, dict[str, Any]]:
    """Case → the other columns of a CSV table, numbers as numbers.

    Raises:
        DatasetError: when the table cannot be read or lacks `case` or `patient`.
    """
    try:
        columns, rows = read_csv(file)
    except (OSError, ValueError) as error:
        raise DatasetError("the table of cases cannot be read", facts={"file": file, "found": error}) from error
    if not {"case", "patient"} <= set(columns):
        raise DatasetError(
            "the table of cases must have the columns case and patient",
            facts={"file": file, "found": ", ".join(sorted(columns)) or "nothing"},
        )
    return {row["case"]: {name: _number(value) for name, value in row.items() if name != "case"} for row in rows}


def _number(text: Any) -> Any:
    try:
        return float(text) if text not in (None, "") else None
    except (TypeError, ValueError):
        return text
