"""Masks on the recipe's grid, resampled so that no lesion is lost on the way."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.labels import LabelMap
from segpipe.lesions import label_lesions
from segpipe.preprocessing.label_shares import join_classes, split_classes
from segpipe.preprocessing.resampling import Preparation, interpolate, orient

Box = tuple[slice, slice, slice]


def resample_mask(mask: NDArray[np.bool_ | np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """Brings the foreground of a mask (x, y, z) from the scan's grid to the recipe's.

    Linear from the binary mask, foreground where at least half. A lesion that would disappear keeps the voxels in which
    it is strongest, so that a small nodule still teaches the network something on a coarse grid.

    Returns:
        0 and 1, of `preparation.grid.shape`.
    """
    resampled = np.zeros(preparation.grid.shape, dtype=np.uint8)
    oriented = orient(mask != 0, preparation).astype(np.bool_)
    window = _foreground_box(oriented)
    if window is None:
        return resampled
    offset = [axis.start for axis in window]
    whole = _resample_box(oriented[window], offset, preparation)
    resampled[whole.box] = whole.share >= 0.5
    _keep_lesions(resampled, oriented[window], offset, preparation)
    return resampled


def resample_labels(mask: NDArray[np.uint8], preparation: Preparation, labels: LabelMap) -> NDArray[np.uint8]:
    """Brings a label map (x, y, z) from the scan's grid to the recipe's, class by class.

    A lesion that would disappear keeps the voxels in which it is strongest, as in `resample_mask`.

    Returns:
        A label map of `preparation.grid.shape`.
    """
    if len(labels.classes) == 1 and labels.ignore is None:
        return resample_mask(mask, preparation)
    resampled = np.zeros(preparation.grid.shape, dtype=np.uint8)
    oriented = np.asarray(orient(mask, preparation), dtype=np.uint8)
    window = _foreground_box(oriented != 0)
    if window is None:
        return resampled
    offset = [axis.start for axis in window]
    members = split_classes(oriented[window], labels)
    parts = [(value, _resample_box(inside, offset, preparation)) for value, inside in members]
    resampled[parts[0][1].box] = join_classes(
        [(value, part.share) for value, part in parts], exclusive=labels.exclusive
    )
    for value, inside in members[: len(labels.classes)]:
        inner = () if labels.exclusive else _values_after(value, labels)
        _keep_lesions(resampled, inside, offset, preparation, value=value, inner=inner)
    return resampled


@dataclass(frozen=True)
class _Part:
    """The share of each voxel of a box of the recipe's grid that is foreground."""

    box: Box
    share: NDArray[np.float32]


def _keep_lesions(
    resampled: NDArray[np.uint8],
    part: NDArray[np.bool_],
    offset: list[int],
    preparation: Preparation,
    *,
    value: int = 1,
    inner: Sequence[int] = (),
) -> None:
    """Gives each lesion of a part of an oriented mask that begins at `offset` a voxel at least.

    A voxel with a value of `inner`, the regions within this one, belongs to this region already and keeps its value.
    """
    components, _ = label_lesions(part)
    for number, box in enumerate(_component_boxes(components), start=1):
        start = [axis.start + first for axis, first in zip(box, offset, strict=True)]
        kept = _strongest_voxels(components[box] == number, start, preparation)
        if kept is not None:
            region = resampled[kept[0]]
            region[kept[1] & ~np.isin(region, inner)] = value


def _strongest_voxels(
    lesion: NDArray[np.bool_], start: list[int], preparation: Preparation
) -> tuple[Box, NDArray[np.bool_]] | None:
    """The voxels of a box that a lesion keeps which would disappear; None for one that does not."""
    own = _resample_box(lesion, start, preparation)
    if own.share.size == 0 or own.share.max() <= 0:
        x, y, z = _nearest_voxel(lesion, start, preparation)
        return (slice(x, x + 1), slice(y, y + 1), slice(z, z + 1)), np.ones((1, 1, 1), dtype=np.bool_)
    return (own.box, own.share == own.share.max()) if own.share.max() < 0.5 else None


def _values_after(value: int, labels: LabelMap) -> list[int]:
    """The values of the regions within one; they are listed from the outermost inwards."""
    values = [label.value for label in labels.classes]
    return values[values.index(value) + 1 :]


def _resample_box(part: NDArray[np.bool_], start: list[int], preparation: Preparation) -> _Part:
    """Resamples a part of an oriented mask that begins at `start` and is background all around."""
    scan_shape = [preparation.scan.shape[axis] for axis in preparation.order]
    padded, ranges, positions = [], [], []
    for axis, ratio in enumerate(preparation.ratios):
        first, last = start[axis], start[axis] + part.shape[axis] - 1
        padded.append((int(first > 0), int(last < scan_shape[axis] - 1)))
        low = int(np.ceil((first - 1) / ratio)) if first > 0 else 0
        count = preparation.grid.shape[axis]
        high = min(int(np.floor((last + 1) / ratio)) + 1, count) if last < scan_shape[axis] - 1 else count
        ranges.append(slice(max(low, 0), max(high, low, 0)))
        inside = torch.arange(ranges[-1].start, ranges[-1].stop, dtype=torch.float64)
        positions.append(inside * ratio - (first - padded[-1][0]))
    box = (ranges[0], ranges[1], ranges[2])
    if any(axis.start >= axis.stop for axis in box):
        return _Part(box, np.zeros([axis.stop - axis.start for axis in box], dtype=np.float32))
    share = interpolate(torch.from_numpy(np.pad(part, padded).astype(np.float32)), positions)
    return _Part(box, share.numpy())


def _nearest_voxel(lesion: NDArray[np.bool_], start: list[int], preparation: Preparation) -> tuple[int, ...]:
    centre = np.argwhere(lesion).mean(axis=0) + start
    nearest = np.round(centre / preparation.ratios).astype(int)
    return tuple(np.clip(nearest, 0, np.array(preparation.grid.shape) - 1).tolist())


def _foreground_box(mask: NDArray[np.bool_]) -> Box | None:
    if not mask.any():
        return None
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    return spans[0], spans[1], spans[2]


def _component_boxes(components: NDArray[np.uint32]) -> list[Box]:
    from scipy.ndimage import find_objects

    return list(find_objects(components.astype(np.int32)))
