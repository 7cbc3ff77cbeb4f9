"""The two diameters that a reader draws in an axial slice."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import FloatArray, Grid
from segpipe.lesions import TIE_MM, Voxels, find_farthest, superior_axis


@dataclass(frozen=True)
class AxialSize:
    """The two diameters that a reader draws, in the axial slice with the longest one.

    Args:
        longest_mm: Largest distance between the centres of two voxels of one axial slice, plus one pixel edge.
        perpendicular_mm: Longest chord of that slice at a right angle to it, plus one pixel edge.
        slice_index: Index of the slice along the scan's axis that runs nearest to the patient's long axis.

    Source:
        Longest axial diameter: RECIST 1.1, Eisenhauer et al., European Journal of Cancer 45 (2009) 228.
        Its perpendicular: WHO handbook for reporting results of cancer treatment (1979).
    """

    longest_mm: float
    perpendicular_mm: float
    slice_index: int

    @property
    def mean_mm(self) -> float:
        """Mean of both diameters."""
        return (self.longest_mm + self.perpendicular_mm) / 2


def measure_axial(voxels: Voxels, grid: Grid) -> AxialSize:
    """Measures one lesion of a mask on `grid` as a reader does, slice by slice.

    Of several longest diameters, which small lesions often have, the one with the longest perpendicular counts, so that
    it does not matter which way the array is stored.
    """
    across = superior_axis(grid)
    rows, columns = (axis for axis in range(3) if axis != across)
    ends = voxels.line_ends(axis=rows)
    ends = ends[np.argsort(ends[:, across], kind="stable")]
    spanned = grid.affine[:3, [rows, columns]]
    first_of_slices = np.flatnonzero(np.diff(ends[:, across], prepend=-1))
    slices = np.split(_plane_coordinates(ends[:, [rows, columns]], spanned), first_of_slices[1:])
    diameters = [find_farthest(points) for points in slices]
    longest = max(length for length, _ in diameters)
    edge = (grid.spacing_mm[rows] + grid.spacing_mm[columns]) / 2
    sizes = []
    for first, (length, directions) in zip(first_of_slices, diameters, strict=True):
        if length < longest - TIE_MM:
            continue
        number = int(ends[first, across])
        plane = np.argwhere(np.moveaxis(voxels.inside, across, 0)[number - voxels.start[across]])
        points = _plane_coordinates(plane, spanned)
        chord = max(_longest_chord(points, along=direction, width=edge) for direction in directions)
        sizes.append(AxialSize(longest + edge, chord + edge, number))
    return max(sizes, key=lambda size: size.perpendicular_mm)


def _plane_coordinates(indices: NDArray[np.int64], columns: FloatArray) -> FloatArray:
    """Positions (n, 2) in mm within the plane that two columns of an affine span; distances are those of space."""
    first = columns[:, 0] / np.linalg.norm(columns[:, 0])
    rest = columns[:, 1] - (columns[:, 1] @ first) * first
    basis = np.stack([first, rest / np.linalg.norm(rest)])
    return np.asarray(indices @ columns.T @ basis.T, dtype=np.float64)


def _longest_chord(points: FloatArray, *, along: FloatArray, width: float) -> float:
    """Longest extent at a right angle to `along` of any strip of points (n, 2) one pixel wide."""
    if not along.any():
        return 0.0
    direction = along / np.linalg.norm(along)
    lengths, heights = points @ direction, points @ np.array([-direction[1], direction[0]])
    strips = np.round((lengths - lengths.min()) / width).astype(np.int64)
    low, high = np.full(strips.max() + 1, np.inf), np.full(strips.max() + 1, -np.inf)
    np.minimum.at(low, strips, heights)
    np.maximum.at(high, strips, heights)
    return float((high - low).max())
