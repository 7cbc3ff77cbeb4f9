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
Mask = NDArray[np.generic]
Masks = tuple[Mask, Mask]
WORTH_CUTTING = 50_000  # voxels; smaller boxes are worked on faster than they are cut
LEAST_SAVING = 0.1  # part of a box that a cut must leave out


@dataclass(frozen=True, eq=False)
class ForegroundCrop:
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


def find_foreground_crops(prediction: Mask, reference: Mask, scan: Grid) -> list[ForegroundCrop]:
    """Cuts two masks (foreground ≠ 0) into islands; none when both are empty."""
    masks = (prediction, reference)
    return [
        ForegroundCrop(box, np.not_equal(prediction[box], 0), np.not_equal(reference[box], 0), scan)
        for box in _cut(masks, _box([slice(0, count) for count in scan.shape]))
    ]


def _cut(masks: Masks, box: Box) -> list[Box]:
    used = [np.flatnonzero(profile) + axis.start for profile, axis in zip(_profiles(masks, box), box, strict=True)]
    if not len(used[0]):
        return []
    tight = _box([slice(int(planes[0]), int(planes[-1]) + 1) for planes in used])
    axis, start, stop = _widest_gap(used)
    if _size(tight) < WORTH_CUTTING or stop - start < LEAST_SAVING * (tight[axis].stop - tight[axis].start):
        return [tight]
    before, after = list(tight), list(tight)
    before[axis] = slice(tight[axis].start, start)
    after[axis] = slice(stop, tight[axis].stop)
    return [*_cut(masks, _box(before)), *_cut(masks, _box(after))]


def _widest_gap(used: Sequence[NDArray[np.int64]]) -> tuple[int, int, int]:
    """Axis, first and next plane of the run of empty planes that is the widest part of its axis."""
    gaps = [np.diff(planes, append=planes[-1] + 1) - 1 for planes in used]
    parts = [gap.max() / (planes[-1] + 1 - planes[0]) for gap, planes in zip(gaps, used, strict=True)]
    axis = int(np.argmax(parts))
    place = int(gaps[axis].argmax())
    first = int(used[axis][place]) + 1
    return axis, first, first + int(gaps[axis][place])


def _profiles(masks: Masks, box: Box) -> tuple[NDArray[np.bool_], ...]:
    """Which planes along each axis of a box have any foreground."""
    across, along = (np.logical_or(_any(masks[0][box], axes), _any(masks[1][box], axes)) for axes in ((2,), (0, 1)))
    return np.any(across, axis=1), np.any(across, axis=0), along


def _any(part: Mask, axes: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a part has foreground along axes; whole numbers are or-ed bit by bit, many at once."""
    if part.dtype.kind in "iu":
        return np.asarray(np.bitwise_or.reduce(part, axis=axes) != 0)
    return np.asarray(np.any(part, axis=axes))


def _size(box: Box) -> int:
    return int(np.prod([axis.stop - axis.start for axis in box]))


def _box(edges: Sequence[slice]) -> Box:
    return edges[0], edges[1], edges[2]
