"""Label maps between grids: each class is interpolated by itself, and then every voxel gets one value again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.labels import LabelMap

Shares = NDArray[np.float32]


def split_classes(mask: NDArray[np.uint8], labels: LabelMap) -> list[tuple[int, NDArray[np.bool_]]]:
    """Value and members of each class of a label map, and of the ignored voxels where there are any."""
    found = [(label.value, labels.class_mask(mask, number)) for number, label in enumerate(labels.classes)]
    return found if labels.ignore is None else [*found, (labels.ignore, mask == labels.ignore)]


def join_classes(shares: Sequence[tuple[int, Shares]], *, exclusive: bool) -> NDArray[np.uint8]:
    """The label map of shares 0…1 of each voxel.

    A voxel is foreground where all classes together have at least half of it, and has the class with the largest share:
    a thin class between others survives. A region has the voxels of which it has at least half.

    Args:
        shares: Value and shares of each class, as `split_classes` lists them; at least one.
        exclusive: Whether the classes exclude each other; else they are regions, from the outermost inwards.
    """
    values = np.array([value for value, _ in shares], dtype=np.uint8)
    planes = np.stack([plane for _, plane in shares])
    if exclusive:
        return np.where(planes.sum(axis=0) >= 0.5, values[planes.argmax(axis=0)], np.uint8(0))
    joined = np.zeros(planes.shape[1:], dtype=np.uint8)
    for value, plane in zip(values, planes, strict=True):
        joined[plane >= 0.5] = value
    return joined
