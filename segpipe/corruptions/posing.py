"""How the patient lies, and how much of the lungs is scanned."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.corruptions.planes import Planes, either_way

Mask = NDArray[np.uint8]


def rotate(planes: Planes, degrees: float, rng: np.random.Generator) -> Planes:
    """Scan and mask are turned about the long axis by `degrees`, `rng` draws to which side."""
    return _turn(planes, (0, 1), degrees * either_way(rng))


def tilt(planes: Planes, degrees: float, rng: np.random.Generator) -> Planes:
    """Scan and mask are tilted from front to back by `degrees`, `rng` draws which way."""
    return _turn(planes, (1, 2), degrees * either_way(rng))


def cover_less(planes: Planes, percent: float, rng: np.random.Generator) -> Planes:
    """Only `percent` of the planes were scanned, in one piece; `rng` draws which.

    Where there are lesions, at least one voxel of them is in it.
    """
    count = planes.image_hu.shape[2]
    kept = max(2, round(count * percent / 100))
    starts = np.arange(count - kept + 1)
    if planes.mask is not None and planes.mask.any():
        lesions = np.flatnonzero(planes.mask.any(axis=(0, 1)))
        starts = np.array([start for start in starts if ((lesions >= start) & (lesions < start + kept)).any()])
    first = int(rng.choice(starts))
    part = slice(first, first + kept)
    mask = None if planes.mask is None else planes.mask[:, :, part]
    return replace(planes, image_hu=planes.image_hu[:, :, part], mask=mask, first=planes.first + first)


def _turn(planes: Planes, axes: tuple[int, int], degrees: float) -> Planes:
    """Turned about the middle, in millimetres; what comes from outside is the border repeated, and no lesion."""
    spacing, middle = np.array(planes.spacing_mm), (np.array(planes.image_hu.shape) - 1) / 2
    one, other = axes
    angle, turn = np.deg2rad(degrees), np.eye(3)
    turn[one, one] = turn[other, other] = np.cos(angle)
    turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
    matrix = np.diag(1 / spacing) @ turn @ np.diag(spacing)
    offset = middle - matrix @ middle
    image = ndimage.affine_transform(planes.image_hu, matrix, offset, order=1, mode="nearest")
    mask = None if planes.mask is None else _turn_mask(planes.mask, matrix, offset)
    return replace(planes, image_hu=image, mask=mask)


def _turn_mask(mask: Mask, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> Mask:
    """Labels between voxels go over into each other as the image does; the one with most of a voxel has it."""
    turned = np.zeros_like(mask)
    for label in np.unique(mask[mask > 0]):
        share = ndimage.affine_transform((mask == label).astype(np.float32), matrix, offset, order=1)
        turned[share >= 0.5] = label
    return turned
