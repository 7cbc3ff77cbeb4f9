"""What may lie beyond the border of a crop around a lesion: the scan goes on there, and the lesion does not.

Crops of public data end where their lesion ends (in LIDC's a mask touches the first or last slice in 55 of 100), so a
network that sees their repeated border learns where a lesion ends from where the image does, which no scan shows it.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.preprocessing.recipe import Shape

_LUNG_HU, _AIRY_HU = -850, -500
_BLUR = (3.0, 3.0, 1.0)
_GROWN = 2
_FEW = 20
_DEVIATIONS = 1.4826  # standard deviations of a normal distribution to its median absolute deviation
_LARGEST_SHARE = 0.5

Image = NDArray[np.int16]
Mask = NDArray[np.uint8]
Voxel = tuple[int, int, int]


class Crop(Protocol):
    """A prepared crop, e.g. of the cache."""

    def read_whole(self) -> tuple[Image, Mask]:
        """Its image in HU and its mask."""


class ContinuedCrop:
    """A crop that goes on beyond its border: mirrored, without its lesion, of which no more than half a voxel is left.

    What is there is not the patient's, but it has the patient's noise, vessels and chest wall. The mask ends at the
    border, as the readers' outline does.

    Args:
        crop: What is continued.
        rng: Draws the noise in the lesion's place, and how much of the lesion the first slice beyond the border holds.
    """

    def __init__(self, crop: Crop, rng: np.random.Generator) -> None:
        self._image, self._mask = crop.read_whole()
        self._rng = rng

    def read(self, start: Voxel, shape: Shape) -> tuple[Image, Mask]:
        """The image and the mask of the box of `shape` voxels from voxel `start`."""
        limits = self._image.shape
        bare = remove_lesion(self._image, self._mask, self._rng)
        image = bare[np.ix_(*(_mirrored(*axis) for axis in zip(start, shape, limits, strict=True)))]
        mask = np.zeros(shape, np.uint8)
        spans = [
            (max(first, 0), min(first + count, limit)) for first, count, limit in zip(start, shape, limits, strict=True)
        ]
        if any(low >= high for low, high in spans):
            return image, mask
        inside = tuple(slice(low, high) for low, high in spans)
        here = tuple(slice(low - first, high - first) for (low, high), first in zip(spans, start, strict=True))
        image[here], mask[here] = self._image[inside], self._mask[inside]
        self._fade(image, here)
        return image, mask

    def _fade(self, image: Image, here: tuple[slice, ...]) -> None:
        """The slices next to the crop hold part of its first and last one, since a lesion ends within a slice."""
        x, y, z = here
        for beyond, border in ((z.start - 1, z.start), (z.stop, z.stop - 1)):
            share = self._rng.uniform(0, _LARGEST_SHARE)
            if 0 <= beyond < image.shape[2]:
                image[x, y, beyond] += np.rint(
                    share * (image[x, y, border].astype(np.float32) - image[x, y, beyond])
                ).astype(np.int16)


def remove_lesion(image_hu: Image, mask: Mask, rng: np.random.Generator) -> Image:
    """A crop as it might be without its lesion: what surrounds it fills its place, with the noise of the lung."""
    lesion = ndimage.binary_dilation(mask > 0, np.ones((3, 3, 1)), iterations=_GROWN)
    if not lesion.any():
        return image_hu
    image = image_hu.astype(np.float32)
    around, weight = (
        ndimage.gaussian_filter(values, _BLUR) for values in (np.where(lesion, 0, image), (~lesion).astype(np.float32))
    )
    smooth = np.where(weight > 1e-3, around / np.maximum(weight, 1e-3), _LUNG_HU)
    airy = ~lesion & (image < _AIRY_HU)
    filled = smooth[lesion]
    if np.count_nonzero(airy) >= _FEW:  # the median leaves vessels and walls out of the noise
        filled = filled + rng.normal(0, _DEVIATIONS * np.median(np.abs(image - smooth)[airy]), filled.size)
    bare = image_hu.copy()
    bare[lesion] = np.clip(np.rint(filled), image_hu.min(), image_hu.max())
    return bare


def _mirrored(first: int, count: int, limit: int) -> NDArray[np.int64]:
    """The indices `first` … within 0 … `limit` - 1, where the border mirrors and is not repeated.

    >>> _mirrored(-2, 8, 3).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = max(2 * (limit - 1), 1)
    index = np.abs(np.arange(first, first + count)) % period
    return np.minimum(index, period - index) if limit > 1 else np.zeros(count, np.int64)
