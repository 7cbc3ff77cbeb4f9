"""Tables as CSV: one writer for every table that a run, an evaluation or a prediction gives."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from segpipe.system.atomic_write import write_text


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    r"""The text of a table with a header; what a row lacks, or has as None, is an empty cell.

    Args:
        rows: Column → value.
        columns: Those that come first, also where no row has them; further ones follow in the order they appear.

    >>> csv_text([{"case": "a", "dice": 0.5}, {"case": "b", "note": "x, y"}], ["case"])
    'case,dice,note\na,0.5,\nb,,"x, y"\n'
    """
    every = list(rows)
    names = list(dict.fromkeys([*columns, *(name for row in every for name in row)]))
    stream = io.StringIO()
    table = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(every)
    return stream.getvalue()


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
