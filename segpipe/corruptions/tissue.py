"""Contrast agent: blood is brighter than in the scans that a network knows."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.corruptions.planes import Planes

LESION_SHARE = 0.15
"""Of the enhancement of blood: nodules take up 10 to 60 HU (Swensen et al., Radiology 214 (2000) 73-80) where the
aorta takes up 200 to 300."""
_AIR_HU, _BLOOD_HU, _BONE_HU = -700.0, 30.0, 120.0
_SMOOTH_MM = 1.0
_IN_PLANE = np.array([0, 1, 0]) * np.ones((3, 3, 1))


def contrast(planes: Planes, enhancement_hu: float, rng: np.random.Generator) -> Planes:
    """Heart and vessels are `enhancement_hu` brighter; a voxel that is partly lung takes its part, a lesion a little.

    Blood is what is as dense as soft tissue and has lung on both sides, seen from the left or from the front: the chest
    wall stays as it is. In a crop, where nothing is known of the body, it is all soft tissue.

    Args:
        planes: The scan; lesions are known by their mask alone.
        enhancement_hu: Of blood.
        rng: Unused.
    """
    sigma = [_SMOOTH_MM / spacing for spacing in planes.spacing_mm]
    smooth = ndimage.gaussian_filter(planes.image_hu, sigma)
    share = ((smooth - _AIR_HU) / (_BLOOD_HU - _AIR_HU)).clip(0, 1) * (smooth < _BONE_HU)
    if planes.is_whole:
        share *= _between_lungs(smooth)
    if planes.mask is not None:
        share = np.where(planes.mask > 0, LESION_SHARE * share, share)
    return planes.with_values(planes.image_hu + enhancement_hu * share)


def _between_lungs(smooth_hu: NDArray[np.float32]) -> NDArray[np.bool_]:
    air = smooth_hu < _AIR_HU
    numbers, _ = ndimage.label(air, _IN_PLANE)
    edges = (numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1])
    lungs = air & ~np.isin(numbers, np.unique(np.concatenate([edge.ravel() for edge in edges])))
    return _enclosed(lungs, 0) | _enclosed(lungs, 1)


def _enclosed(lung: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """Voxels with lung on both sides along an axis."""
    before = np.maximum.accumulate(lung, axis=axis)
    behind = np.flip(np.maximum.accumulate(np.flip(lung, axis), axis=axis), axis)
    return before & behind
