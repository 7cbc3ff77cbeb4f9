"""Whether all of a lesion can be seen: one that reaches the border of the scan or of the window may go on behind it."""

from dataclasses import dataclass
from typing import Final

from segpipe.geometry import Grid, axis_directions
from segpipe.lesions import Box

WINDOW: Final = "window"
_ENDS: Final = {
    (2, 1): "upper end of the scan",
    (2, -1): "lower end of the scan",
    (0, 1): "right side of the scan",
    (0, -1): "left side of the scan",
    (1, 1): "front of the scan",
    (1, -1): "back of the scan",
}
"""World axis and sign of a way to the border (RAS+) → what a reader calls that border."""


@dataclass(frozen=True)
class Borders:
    """What cuts a lesion.

    Args:
        cut_by: The borders that it reaches: ends and sides of the scan, as the patient sees them, and `window` for the
            border of the part of the scan that was looked at. Its volume and diameters are then at least those
            measured. None where it reaches none.
    """

    cut_by: str | None


def find_borders(part: Box, seen: Box, grid: Grid) -> Borders:
    """Names the borders that a lesion reaches.

    Args:
        part: The lesion's box.
        seen: The part of the scan that was looked at, which holds the lesion.
        grid: The scan's grid.

    >>> import numpy as np
    >>> scan, box = Grid((40, 40, 20), np.diag([1.0, 1.0, 3.0, 1.0])), slice(5, 15)
    >>> find_borders((box, box, slice(12, 20)), (slice(0, 15), slice(0, 20), slice(0, 20)), scan)
    Borders(cut_by='upper end of the scan, window')
    """
    directions = axis_directions(grid.affine)
    reached = {(directions[axis][0], directions[axis][1] * sign) for axis, sign in reached_ends(part, whole_scan(grid))}
    names = [name for way, name in _ENDS.items() if way in reached]
    if is_cut(part, seen, grid):
        names.append(WINDOW)
    return Borders(", ".join(names) or None)


def is_cut(part: Box, seen: Box, grid: Grid) -> bool:
    """Whether a box reaches an end of the part of the scan that was looked at behind which the scan goes on."""
    return not set(reached_ends(part, seen)) <= set(reached_ends(part, whole_scan(grid)))


def reached_ends(part: Box, around: Box) -> list[tuple[int, int]]:
    """The ends of the box around it that a box reaches: the axis, and −1 for the first voxel or 1 for the last."""
    pairs = list(enumerate(zip(part, around, strict=True)))
    first = [(axis, -1) for axis, (own, limit) in pairs if own.start == limit.start]
    return first + [(axis, 1) for axis, (own, limit) in pairs if own.stop == limit.stop]


def whole_scan(grid: Grid) -> Box:
    """The box of all voxels."""
    x, y, z = (slice(0, count) for count in grid.shape)
    return x, y, z
