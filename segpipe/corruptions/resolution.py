"""What a voxel holds: the reconstruction kernel, the slice's thickness, the size of the matrix."""

import numpy as np
from numpy.typing import NDArray

from segpipe.corruptions.planes import Floats, Planes, filter_planes, padded

NAMED_PER_MM = 0.5
"""The frequency at which a change of kernel is named."""
_HIGHEST_PER_MM = 0.6
"""A gain grows no further than to here."""


def other_kernel(planes: Planes, gain: float, rng: np.random.Generator) -> Planes:
    """The scan as another kernel of the reconstruction would show it, with its noise: g^(f / 0.5 per mm).

    So did the spectra of one scan with two kernels differ: between 0.1 and 0.6 cycles per mm a lung kernel (L) had
    exp(5 f) times what a body kernel (B) had, 12 times at 0.5 (Lung-PET-CT-Dx, A0001).

    Args:
        planes: The scan.
        gain: At 0.5 cycles per mm; above 1 it becomes sharper, below smoother.
        rng: Unused.
    """
    frequency = np.minimum(np.hypot(*padded(planes).frequencies), _HIGHEST_PER_MM)
    return filter_planes(planes, gain ** (frequency / NAMED_PER_MM))


def thicker_slices(planes: Planes, thickness_mm: float, rng: np.random.Generator) -> Planes:
    """Slices of this thickness and distance, and between them what a reader of such a scan interpolates.

    Args:
        planes: The scan; one with thicker slices stays as it is.
        thickness_mm: Of a slice.
        rng: Draws where the first slice begins.
    """
    image = _coarser(planes.image_hu, 2, thickness_mm / planes.spacing_mm[2], rng.random())
    return planes.with_values(image)


def coarser_matrix(planes: Planes, pixel_mm: float, rng: np.random.Generator) -> Planes:
    """Pixels of this size, and between them what a reader of such a scan interpolates.

    Args:
        planes: The scan; one with larger pixels stays as it is.
        pixel_mm: Edge of a pixel.
        rng: Draws where the first pixel begins.
    """
    image = planes.image_hu
    for axis in (0, 1):
        image = _coarser(image, axis, pixel_mm / planes.spacing_mm[axis], rng.random())
    return planes.with_values(image)


def _coarser(image: Floats, axis: int, factor: float, phase: float) -> NDArray[np.floating]:
    """Means over `factor` voxels along an axis, interpolated linearly at the voxels' centres."""
    if factor <= 1:
        return image
    count = image.shape[axis]
    starts = np.arange(-phase * factor, count, factor)
    lines = np.moveaxis(image, axis, 0).reshape(count, -1)
    sums = np.concatenate([np.zeros((1, lines.shape[1])), np.cumsum(lines, axis=0, dtype=np.float64)])
    ends = np.clip([starts, starts + factor], 0, count)
    wide = ends[1] - ends[0] > 1e-6
    means = (_between(sums, ends[1, wide]) - _between(sums, ends[0, wide])) / (ends[1] - ends[0])[wide, None]
    centres = (ends[0] + ends[1])[wide] / 2 - 0.5
    places = np.interp(np.arange(count), centres, np.arange(len(centres)))
    return np.moveaxis(_between(means, places).reshape(np.moveaxis(image, axis, 0).shape), 0, axis)


def _between(rows: NDArray[np.floating], places: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows at fractional places, linearly."""
    low = np.clip(np.floor(places).astype(int), 0, max(len(rows) - 2, 0))
    high = np.minimum(low + 1, len(rows) - 1)
    share = (places - low)[:, None]
    return np.asarray(rows[low] * (1 - share) + rows[high] * share)
