"""Tables as CSV: one writer and one reader, and no cell that a spreadsheet would take for a formula."""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.system.files.atomic_write import write_text

LARGEST_TABLE = 2**28
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a cell begins that a spreadsheet would execute (OWASP, CSV injection), behind any number of our own quotes."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """The text of a table with a header; what a row lacks, or has as None, is an empty cell.

    A text that a spreadsheet would take for a formula gets a quote in front, which `read_csv` takes away again.

    Args:
        rows: Column → value.
        columns: Those that come first, also where no row has them; further ones follow in the order they appear.

    >>> print(csv_text([{"case": "a", "dice": -0.5}, {"case": "=1+2", "note": "x, y"}], ["case"]), end="")
    case,dice,note
    a,-0.5,
    '=1+2,,"x, y"
    """
    every = [{_inert(name): _inert(value) for name, value in row.items()} for row in rows]
    names = list(dict.fromkeys([*map(_inert, columns), *(name for row in every for name in row)]))
    lines = _Lines()
    table = csv.DictWriter(lines, names, restval="", lineterminator=_Lines.END)
    table.writeheader()
    table.writerows(every)
    return "".join(lines.texts)


def write_csv(file: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, what: str) -> Path:
    """Writes a table whole or not at all.

    Args:
        file: The CSV.
        rows: Column → value.
        columns: See `csv_text`.
        what: What the error calls the file, e.g. `the table of findings`.

    Raises:
        OutputError: when it cannot be written.
    """
    return write_text(file, csv_text(rows, columns), what=what)


def read_csv(file: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a table as text; a cell that is missing is empty, one too many is left out.

    Raises:
        OSError: when the file cannot be opened.
        ValueError: when it is no table in UTF-8, or larger than any table that is meant.
    """
    columns, _, rows = read_numbered_csv(file)
    return columns, rows


def read_numbered_csv(file: Path) -> tuple[list[str], list[int], list[dict[str, str]]]:
    """The same with the line of the file in which each row ends, for messages; see `read_csv`.

    Raises:
        OSError: when the file cannot be opened.
        ValueError: when it is no table in UTF-8, or larger than any table that is meant.
    """
    if file.stat().st_size > LARGEST_TABLE:
        raise ValueError(f"larger than {LARGEST_TABLE >> 20} MiB")
    lines, rows = [], []
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            for row in reader:
                lines.append(reader.line_num)
                rows.append({_as_meant(key): _as_meant(text) for key, text in row.items() if key is not None})
            return [_as_meant(name) for name in reader.fieldnames or []], lines, rows
    except csv.Error as error:
        raise ValueError(str(error)) from error


class _Lines:
    """Takes lines from `csv`, which quotes the characters of its line's end alone, and ends them by one of the two."""

    END = "\r\n"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def write(self, line: str) -> None:
        self.texts.append(line.removesuffix(self.END) + "\n")


def _inert(value: Any) -> Any:
    """A value as no spreadsheet executes it; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


def _as_meant(text: str) -> str:
    """A cell without the quote that `_inert` has put in front."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
