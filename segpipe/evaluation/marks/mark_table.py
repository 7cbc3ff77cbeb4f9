"""Reads the marks of any detector and finds their scans in the reference."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import DatasetError
from segpipe.evaluation.marks.numbered_table import MOST_NAMED, Columns, read_points
from segpipe.geometry import FloatArray

FORMS = (
    Columns("seriesuid", ("coordX", "coordY", "coordZ"), "probability", lps=True),
    Columns("scan", ("centre_x_mm", "centre_y_mm", "centre_z_mm"), "mean_probability", lps=False),
)
"""Submissions to LUNA16, and the `findings.csv` that `predict` writes."""


@dataclass(frozen=True, eq=False)
class Points:
    """The marks of a detector.

    Args:
        scan: Index of the scan of each, (n,).
        centre_mm: RAS+ mm, (n, 3).
        probability: How sure the detector is, any finite number, (n,).
    """

    scan: NDArray[np.int64]
    centre_mm: FloatArray
    probability: FloatArray


def read_marks(file: Path, scans: tuple[str, ...]) -> tuple[Points, list[DatasetError]]:
    """Reads a table of marks.

    Args:
        file: A CSV with the columns of one of the `FORMS`.
        scans: The scans of the reference.

    Returns:
        The marks in these scans, and an error for those in others, which count neither way.

    Raises:
        DatasetError: when the table cannot be read, has a bad row, or no mark is in any of the scans.
    """
    table = read_points(file, FORMS, what="the table of marks")
    scan = table.index_scans(scans)
    known = scan >= 0
    if len(known) and not known.any():
        raise DatasetError(
            "no mark is in a scan of the reference",
            facts={"table": file, "marks": len(known), "scans of the reference": len(scans)},
            hint="the table must name scans as the reference does",
        )
    unknown = np.flatnonzero(~known)
    lines = ", ".join(str(table.lines[index]) for index in unknown[:MOST_NAMED])
    errors = [
        DatasetError(
            "marks are in scans that the reference does not know; they do not count",
            facts={"table": file, "marks": len(unknown), "lines": lines + ", …" * (len(unknown) > MOST_NAMED)},
        )
    ] * bool(len(unknown))
    return Points(scan[known], table.place_mm[known], table.number[known]), errors
