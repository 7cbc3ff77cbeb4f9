"""Tables of cases: who belongs to which patient, and the numbers about a case that identify nobody."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from segpipe.errors import DatasetError
from segpipe.system.files.csv_table import read_csv

# Columns that may reveal who a patient is or when and where a scan was made never enter a data set.
_PRIVATE_WORDS = frozenset(
    {"id", "ids", "uid", "name", "patient", "series", "study", "accession", "mrn", "path", "file", "x", "y", "z"}
    | {"date", "time", "birth", "birthday", "dob", "age", "sex"}
)
COLUMN_WORDS = "--case-column and --patient-column (data.case_column and data.patient_column in training)"


class Row(NamedTuple):
    """What a table says about one case: the patient in the user's words and the numeric columns."""

    patient: str
    numbers: Mapping[str, float | int]


def read_table(file: Path, *, case_column: str, patient_column: str) -> dict[str, Row]:
    """Reads a CSV of cases.

    Returns:
        Case → patient and numbers.

    Raises:
        DatasetError: when the file or a column is missing, or a case that comes twice.
    """
    rows = read_rows(file, required=(case_column, patient_column), hint=f"name the columns with {COLUMN_WORDS}")
    cases = [row[case_column].strip() for row in rows]
    twice = sorted(case for case, times in Counter(cases).items() if times > 1)
    if twice:
        raise DatasetError("a table must list each case once", facts={"table": file, "twice": ", ".join(twice[:8])})
    kept = [name for name in (rows[0] if rows else {}) if name not in (case_column, patient_column)]
    return {
        case: Row(row[patient_column].strip(), harmless_numbers({name: row[name] for name in kept}))
        for case, row in zip(cases, rows, strict=True)
    }


def name_patients(patients: list[str]) -> dict[str, str]:
    """The tool's own name for each patient, numbered in the sorted order of the names given.

    >>> name_patients(["Doe", "Abel", "Doe"])
    {'Abel': 'patient_0001', 'Doe': 'patient_0002'}
    """
    return {patient: f"patient_{number:04d}" for number, patient in enumerate(sorted(set(patients)), start=1)}


def harmless_numbers(values: Mapping[str, str]) -> dict[str, float | int]:
    """The columns that hold a number and whose name does not reveal a person, a date, a place or an identifier.

    >>> harmless_numbers({"diameter_mm": "12.5", "texture": "5", "StudyDate": "20240131", "note": "smoker"})
    {'diameter_mm': 12.5, 'texture': 5}
    """
    numbers: dict[str, float | int] = {}
    for name, text in values.items():
        number = _number(text)
        if math.isfinite(number) and not _private(name):
            numbers[name] = int(number) if number.is_integer() else number
    return numbers


def read_rows(file: Path, *, required: tuple[str, ...], hint: str | None = None) -> list[dict[str, str]]:
    """Reads a CSV with a header row as text.

    Args:
        file: The CSV.
        required: Columns that must be there.
        hint: What to try when they are not.

    Raises:
        DatasetError: when it cannot be read or lacks a required column.
    """
    try:
        columns, rows = read_csv(file)
    except (OSError, ValueError) as error:
        raise DatasetError("the table cannot be read", facts={"table": file, "found": error}) from error
    missing = [name for name in required if name not in columns]
    if missing:
        raise DatasetError(
            "the table lacks a column",
            facts={"table": file, "missing": ", ".join(missing), "columns": ", ".join(columns)},
            hint=hint,
        )
    return rows


def _private(column: str) -> bool:
    """Splits `StudyDate` and `study_date` alike into words."""
    return not _PRIVATE_WORDS.isdisjoint(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", column))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
