"""Places worth looking at in a prepared case: voxels of each lesion and of the body, as plain data."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid
from segpipe.labels import LabelMap
from segpipe.lesions import Lesion, label_lesions, measure_lesions

LESION_VOXELS = 256
BODY_VOXELS = 2048
BODY_HU = -500.0
_BODY_STRIDE_MM = 4.0

Voxels = NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Points:
    """Voxel indices (n, 3) of a prepared case.

    Args:
        lesions: For each lesion a random sample of its voxels, all of them when it is small.
        body: A random sample of the body with the lungs.
    """

    lesions: tuple[Voxels, ...]
    body: Voxels


def find_points(
    image_hu: NDArray[np.int16], mask: NDArray[np.uint8], grid: Grid, *, labels: LabelMap, rng: np.random.Generator
) -> tuple[Points, list[list[Lesion]]]:
    """Samples the lesions and the body of a case on the recipe's grid and measures the lesions there.

    Returns:
        The samples, of the lesions class by class, and the lesions of each class.
    """
    samples: list[Voxels] = []
    lesions: list[list[Lesion]] = []
    for number in range(len(labels.classes)):
        components, count = label_lesions(labels.class_mask(mask, number))
        lesions.append(measure_lesions(components, grid) if count else [])
        samples += _lesion_sample(components, count, rng)
    return Points(tuple(samples), _body_sample(image_hu, grid, rng)), lesions


def write_points(points: Points, file: Path) -> list[int]:
    """Writes all voxels, lesion by lesion and the body last, as rows of three little-endian int16.

    Returns:
        The number of rows of each lesion and of the body.
    """
    groups = [*points.lesions, points.body]
    np.concatenate(groups).astype("<i2").tofile(file)
    return [len(group) for group in groups]


def read_point(file: Path, row: int) -> NDArray[np.int64]:
    """Reads one row without the others: a patch needs no more, and memory keeps none."""
    return np.fromfile(file, dtype="<i2", count=3, offset=6 * row).astype(np.int64)


def _lesion_sample(components: NDArray[np.uint32], count: int, rng: np.random.Generator) -> list[Voxels]:
    from scipy.ndimage import find_objects

    samples = []
    for number, box in enumerate(find_objects(components.astype(np.int32), max_label=count), start=1):
        voxels = np.argwhere(components[box] == number) + [axis.start for axis in box]
        samples.append(_some(voxels, LESION_VOXELS, rng))
    return samples


def _body_sample(image_hu: NDArray[np.int16], grid: Grid, rng: np.random.Generator) -> Voxels:
    """Finds the body on every few millimetres only: the sample needs no sharp border."""
    from scipy.ndimage import binary_fill_holes

    strides = [max(1, round(_BODY_STRIDE_MM / spacing)) for spacing in grid.spacing_mm]
    tissue = image_hu[tuple(slice(None, None, stride) for stride in strides)] > BODY_HU
    components, count = label_lesions(tissue)
    largest = components == 1 if count else tissue
    filled = np.stack([binary_fill_holes(slice_xy) for slice_xy in np.moveaxis(largest, 2, 0)], axis=2)
    coarse = _some(np.argwhere(filled), BODY_VOXELS, rng)
    scattered: NDArray[np.int64] = coarse * strides + rng.integers(0, strides, size=coarse.shape)
    inside: Voxels = np.minimum(scattered, np.array(grid.shape) - 1).astype(np.int16)
    return inside


def _some(voxels: NDArray[np.int64], limit: int, rng: np.random.Generator) -> Voxels:
    if len(voxels) > limit:
        voxels = voxels[np.sort(rng.choice(len(voxels), limit, replace=False))]
    return voxels.astype(np.int16)
