"""How far voxels are from one of them on a way through tissue like its own; a boundary lengthens the way."""

import numpy as np
from numpy.typing import NDArray

Index = tuple[int, int, int]
CONTRAST_HU = 400.0
"""A millimetre through tissue that differs by so much from the voxel's own counts twice."""


def geodesic_mm(
    image_hu: NDArray[np.generic], seed: Index, spacing_mm: tuple[float, float, float], *, reach_mm: float
) -> NDArray[np.float32]:
    """Length in mm (x, y, z) of the shortest way from the voxel `seed` to each voxel; infinite beyond `reach_mm`.

    Source:
        Criminisi et al., GeoS, ECCV 2008; Wang et al., DeepIGeoS, IEEE TPAMI 41 (2019) 1559–1572. The way is found by
        fast marching: Sethian, PNAS 93 (1996) 1591–1595.
    """
    import SimpleITK as sitk  # noqa: N813

    part = tuple(
        slice(max(0, at - reach), at + reach + 1)
        for at, reach in zip(seed, (int(reach_mm / length) + 1 for length in spacing_mm), strict=True)
    )
    near = image_hu[part].astype(np.float32)
    unlike = np.abs(near - np.float32(image_hu[seed])) / CONTRAST_HU
    speed = sitk.GetImageFromArray((1 / (1 + unlike)).transpose())  # ITK's arrays are (z, y, x)
    speed.SetSpacing(spacing_mm)
    start = [at - edge.start for at, edge in zip(seed, part, strict=True)]
    times = sitk.FastMarching(speed, trialPoints=[start], stoppingValue=reach_mm)
    distance = np.full(image_hu.shape, np.inf, np.float32)
    found = sitk.GetArrayViewFromImage(times).transpose()
    distance[part] = np.where(found <= reach_mm, found, np.inf)
    return distance
