"""What marks are compared with: scans, the nodules that must be found in them, and findings that count neither way."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import FloatArray


@dataclass(frozen=True, eq=False)
class Spheres:
    """Findings as centre and diameter.

    Args:
        scan: Index of the scan of each, (n,).
        centre_mm: RAS+ mm, (n, 3).
        diameter_mm: Of each, (n,).
    """

    scan: NDArray[np.int64]
    centre_mm: FloatArray
    diameter_mm: FloatArray

    @classmethod
    def of(cls, rows: Sequence[tuple[int, Sequence[float], float]]) -> "Spheres":
        """Makes them of rows of scan, centre and diameter."""
        return cls(
            np.array([scan for scan, _, _ in rows], dtype=np.int64),
            np.array([centre for _, centre, _ in rows], dtype=np.float64).reshape(-1, 3),
            np.array([diameter for _, _, diameter in rows], dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.scan)

    def of_scans(self, count: int) -> list[NDArray[np.int64]]:
        """Indices of the findings of each of `count` scans."""
        return group_by_scan(self.scan, count)


@dataclass(frozen=True, eq=False)
class MarkReference:
    """The truth of a data set for detectors.

    Args:
        name: What it is called in reports.
        scans: The scans that count, with or without nodules.
        patients: The patient of each scan; those of a patient are resampled together.
        nodules: What must be found.
        ignored: Findings on which a mark is neither right nor wrong.
    """

    name: str
    scans: tuple[str, ...]
    patients: tuple[str, ...]
    nodules: Spheres
    ignored: Spheres


def group_by_scan(scan: NDArray[np.int64], count: int) -> list[NDArray[np.int64]]:
    """Indices of the rows of each of `count` scans, in their order.

    >>> [rows.tolist() for rows in group_by_scan(np.array([2, 0, 2]), 3)]
    [[1], [], [0, 2]]
    """
    order = np.argsort(scan, kind="stable")
    return np.split(order, np.searchsorted(scan[order], np.arange(1, count)))
