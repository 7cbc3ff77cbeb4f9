"""What calibration and storage do to HU: offset, scale, steps, limits and lossy compression."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from segpipe.corruptions.planes import EMPTY_HU, Floats, Planes, either_way

LUNG_CENTRE_HU = -500.0
_LEAST_SIDE = 256


def offset_hu(planes: Planes, offset: float, rng: np.random.Generator) -> Planes:
    """All values are too high or too low by `offset` HU; `rng` draws which."""
    return planes.with_values(planes.image_hu + either_way(rng) * offset)


def scale_hu(planes: Planes, percent: float, rng: np.random.Generator) -> Planes:
    """The distance of all values from air is too large or too small by `percent`; `rng` draws which."""
    return planes.with_values((planes.image_hu + 1000) * (1 + either_way(rng) * percent / 100) - 1000)


def coarser_values(planes: Planes, step_hu: float, rng: np.random.Generator) -> Planes:
    """Values are multiples of `step_hu`: 16 HU are 8 bits for 4096 HU."""
    return planes.with_values(np.rint(planes.image_hu / step_hu) * step_hu)


def clip_values(planes: Planes, width_hu: float, rng: np.random.Generator) -> Planes:
    """Values end where a window of this width around −500 HU ends, as in exported pictures."""
    low, high = LUNG_CENTRE_HU - width_hu / 2, LUNG_CENTRE_HU + width_hu / 2
    return planes.with_values(planes.image_hu.clip(low, high))


def compress(planes: Planes, ratio: float, rng: np.random.Generator) -> Planes:
    """Each plane compressed by JPEG 2000 with losses, from 16 bits a voxel to so many times fewer.

    A crop is mirrored to the size of a plane first, since a header takes more of a small file than of a large one.
    """
    return planes.mapped(lambda plane: _through_jpeg2000(plane, ratio))


def _through_jpeg2000(plane: Floats, ratio: float) -> NDArray[np.floating]:
    from PIL import Image

    file = BytesIO()
    x, y = plane.shape
    wide = np.pad(plane, [(0, max(0, _LEAST_SIDE - side)) for side in plane.shape], mode="symmetric")
    stored = np.rint(wide - EMPTY_HU).clip(0, 65535).astype(np.uint16)
    Image.fromarray(stored).save(file, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True)
    return np.asarray(Image.open(file), dtype=np.float32)[:x, :y] + EMPTY_HU
