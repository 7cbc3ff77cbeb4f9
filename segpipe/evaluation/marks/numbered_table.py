"""Tables of points that people and other tools make: each row a scan, a place and a number; mistakes have lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import DatasetError
from segpipe.geometry import FloatArray, flip_ras_lps
from segpipe.system.files.csv_table import read_numbered_csv

MOST_NAMED = 5


class Columns(NamedTuple):
    """How a table calls the scan, the place and the number of a row, and whether its places are LPS+ mm, not RAS+."""

    scan: str
    place: tuple[str, str, str]
    number: str
    lps: bool


@dataclass(frozen=True, eq=False)
class PointTable:
    """Points of scans, each with a number.

    Args:
        file: Where they were read.
        lines: Line of each point in the file.
        scans: Name of the scan of each.
        place_mm: RAS+ mm, (n, 3).
        number: Of each, (n,).
    """

    file: Path
    lines: Sequence[int]
    scans: Sequence[str]
    place_mm: FloatArray
    number: FloatArray

    def index_scans(self, known: Sequence[str]) -> NDArray[np.int64]:
        """Index of each point's scan among `known`; −1 for another scan."""
        index = {name: position for position, name in enumerate(known)}
        return np.array([index.get(name, -1) for name in self.scans], dtype=np.int64)


def read_points(file: Path, forms: Sequence[Columns], *, what: str) -> PointTable:
    """Reads a CSV whose header has all columns of one of the forms; further columns do not matter.

    Args:
        file: The CSV.
        forms: The first that fits is taken.
        what: What messages call the table, e.g. `the table of marks`.

    Raises:
        DatasetError: when it cannot be read or has other columns, or listing the lines that hold no finite numbers.
    """
    try:
        columns, lines, rows = read_numbered_csv(file)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{what} cannot be read", facts={"table": file, "found": error}) from error
    form = _fitting(columns, forms, file, what)
    numbers = np.array([[_number(row[name]) for name in (*form.place, form.number)] for row in rows]).reshape(-1, 4)
    scans = [row[form.scan].strip() for row in rows]
    bad = ~np.isfinite(numbers).all(axis=1) | np.array([not name for name in scans], dtype=np.bool_)
    if bad.any():
        first = np.flatnonzero(bad)[:MOST_NAMED].tolist()
        found = {f"line {lines[index]}": _shown(rows[index], form) for index in first}
        raise DatasetError(
            f"every row of {what} must name a scan and hold finite numbers",
            facts={"table": file, **found, "bad rows": f"{bad.sum()} of {len(rows)}"},
        )
    place = flip_ras_lps(numbers[:, :3]) if form.lps else numbers[:, :3]
    return PointTable(file, lines, scans, place, numbers[:, 3])


def _fitting(columns: Sequence[str], forms: Sequence[Columns], file: Path, what: str) -> Columns:
    """The first form whose columns are all there."""
    for form in forms:
        if {form.scan, *form.place, form.number} <= set(columns):
            return form
    needed = " or ".join(", ".join((form.scan, *form.place, form.number)) for form in forms)
    facts = {"table": file, "columns": ", ".join(columns) or "none", "needed": needed}
    raise DatasetError(f"{what} lacks columns", facts=facts)


def _shown(row: Mapping[str, str], form: Columns) -> str:
    """The numbers of a row; the scan may be a UID, which messages leave out."""
    numbers = ", ".join(f"{name} {row[name] or 'empty'}" for name in (*form.place, form.number))
    return numbers if row[form.scan].strip() else f"no {form.scan}, {numbers}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan
