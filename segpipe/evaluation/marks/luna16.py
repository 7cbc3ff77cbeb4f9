"""Reads LUNA16's own tables of nodules, findings that do not count, and scans."""

from pathlib import Path

import numpy as np

from segpipe.errors import DatasetError
from segpipe.evaluation.marks.numbered_table import Columns, read_points
from segpipe.evaluation.marks.reference import MarkReference, Spheres

UNKNOWN_DIAMETER_MM = 10.0
"""What the official script takes for a finding whose diameter is negative."""
_COLUMNS = (Columns("seriesuid", ("coordX", "coordY", "coordZ"), "diameter_mm", lps=True),)
_SCANS = "seriesuids.csv"


def read_luna16(folder: Path) -> MarkReference:
    """Reads `annotations.csv`, `annotations_excluded.csv` and `seriesuids.csv`, as LUNA16 publishes them.

    Findings in scans that `seriesuids.csv` does not list do not count, so that a part of the scans can be evaluated by
    listing it. Every scan is of a patient of its own.

    Raises:
        DatasetError: when a table is missing or has a bad row, or no nodule is in the scans listed.
    """
    scans = _read_scans(folder / _SCANS)
    nodules, ignored = (_read(folder / name, scans) for name in ("annotations.csv", "annotations_excluded.csv"))
    if not len(nodules):
        raise DatasetError("the scans listed must hold a nodule", facts={"folder": folder, "scans": len(scans)})
    return MarkReference("luna16", scans, scans, nodules, ignored)


def _read(file: Path, scans: tuple[str, ...]) -> Spheres:
    table = read_points(file, _COLUMNS, what="the table of findings")
    scan = table.index_scans(scans)
    known = scan >= 0
    diameter = np.where(table.number < 0, UNKNOWN_DIAMETER_MM, table.number)
    return Spheres(scan[known], table.place_mm[known], diameter[known])


def _read_scans(file: Path) -> tuple[str, ...]:
    """The first cell of each line; a header is not needed."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(
            "the list of scans cannot be read",
            facts={"file": file, "found": error},
            hint="give the folder with LUNA16's annotations.csv, annotations_excluded.csv and seriesuids.csv",
        ) from error
    names = [name for line in lines if (name := line.split(",")[0].strip()) not in ("", "seriesuid")]
    if len(set(names)) < len(names):
        raise DatasetError("the list of scans must name each once", facts={"file": file, "lines": len(names)})
    return tuple(names)
