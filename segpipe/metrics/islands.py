"""Small boxes that hold all foreground of two masks, so that nodules in a large scan cost little time and memory.

Boxes are cut along empty planes only. Nothing connects across an empty plane, so components, borders and overlaps of
the boxes are those of the whole scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_world

Box = tuple[slice, slice, slice]
WORTH_CUTTING = 50_000  # voxels; smaller boxes are worked on faster than they are cut
LEAST_SAVING = 0.1  # part of a box that a cut must leave out


@dataclass(frozen=True, eq=False)
class Island:
    """A box of the scan with the foreground of both masks inside.

    Args:
        box: Where it lies in the scan.
        prediction: The predicted mask inside the box, (x, y, z).
        reference: The reference mask inside the box.
        scan: The scan's own grid.
    """

    box: Box
    prediction: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    scan: Grid

    @cached_property
    def grid(self) -> Grid:
        """The grid of the box."""
        affine = self.scan.affine.copy()
        affine[:3, 3] = to_world(affine, [axis.start for axis in self.box])
        x, y, z = self.prediction.shape
        return Grid((x, y, z), affine)


def find_islands(prediction: NDArray[np.generic], reference: NDArray[np.generic], scan: Grid) -> list[Island]:
    """Cuts two masks (foreground ≠ 0) into islands; none when both are empty."""
    whole = _hull([_shrink(mask, _everything(mask)) for mask in (prediction, reference)])
    if whole is None:
        return []
    cropped = [np.not_equal(mask[whole], 0) for mask in (prediction, reference)]
    return [
        Island(_moved(box, whole), cropped[0][box], cropped[1][box], scan)
        for box in _cut(cropped[0] | cropped[1], _everything(cropped[0]))
    ]


def _cut(mask: NDArray[np.bool_], box: Box) -> list[Box]:
    tight = _shrink(mask, box)
    if tight is None:
        return []
    if _size(tight) < WORTH_CUTTING:
        return [tight]
    axis, start, stop, saved = _widest_gap(mask, tight)
    if saved < LEAST_SAVING:
        return [tight]
    before, after = list(tight), list(tight)
    before[axis] = slice(tight[axis].start, start)
    after[axis] = slice(stop, tight[axis].stop)
    return [*_cut(mask, _box(before)), *_cut(mask, _box(after))]


def _widest_gap(mask: NDArray[np.bool_], box: Box) -> tuple[int, int, int, float]:
    """Axis, first and next plane of the widest run of empty planes, and the part of the box that it is."""
    best = (0, 0, 0, 0.0)
    for axis in range(3):
        used = np.flatnonzero(_profile(mask, box, axis))
        gaps = np.diff(used) - 1
        if len(gaps) and (saved := float(gaps.max() / (used[-1] + 1))) > best[3]:
            place = int(gaps.argmax())
            first = box[axis].start
            best = (axis, first + int(used[place]) + 1, first + int(used[place + 1]), saved)
    return best


def _shrink(mask: NDArray[np.generic], box: Box) -> Box | None:
    """The smallest box inside `box` that holds its foreground; None when there is none."""
    edges = list(box)
    for axis in range(3):
        used = np.flatnonzero(_profile(mask, _box(edges), axis))
        if not len(used):
            return None
        first = edges[axis].start
        edges[axis] = slice(first + int(used[0]), first + int(used[-1]) + 1)
    return _box(edges)


def _profile(mask: NDArray[np.generic], box: Box, axis: int) -> NDArray[np.bool_]:
    others = tuple(other for other in range(3) if other != axis)
    return np.asarray(mask[box].any(axis=others), dtype=np.bool_)


def _hull(boxes: Sequence[Box | None]) -> Box | None:
    known = [box for box in boxes if box is not None]
    if not known:
        return None
    return _box([slice(min(b[i].start for b in known), max(b[i].stop for b in known)) for i in range(3)])


def _moved(box: Box, by: Box) -> Box:
    return _box([slice(own.start + base.start, own.stop + base.start) for own, base in zip(box, by, strict=True)])


def _everything(mask: NDArray[np.generic]) -> Box:
    return _box([slice(0, count) for count in mask.shape])


def _size(box: Box) -> int:
    return int(np.prod([axis.stop - axis.start for axis in box]))


def _box(edges: Sequence[slice]) -> Box:
    return edges[0], edges[1], edges[2]
