"""Names a scan by its voxels, so that it is known again whatever file it comes in and whatever it is called."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, axis_directions

_FORM = "segpipe-scan-1"
_INT16 = np.iinfo(np.int16)


def scan_digest(image: NDArray[np.generic], grid: Grid) -> str:
    """SHA-256 of a scan's voxels in hex.

    They are hashed in one form: axes permuted and flipped so that they run most nearly to the right, to the front and
    up (RAS+), whole HU as little-endian int16, the first axis fastest, behind a line with the shape. So it is the same
    for DICOM and NIfTI of one scan. Position and voxel size do not count, since formats round them in different ways.

    Args:
        image: HU (x, y, z), as read, before anything is resampled, cropped or clipped.
        grid: The scan's own grid.
    """
    directions = axis_directions(grid.affine)
    order = sorted(range(3), key=lambda axis: directions[axis][0])
    turned = image[tuple(slice(None, None, sign) for _, sign in directions)].transpose(order)
    digest = hashlib.sha256(f"{_FORM} {'×'.join(map(str, turned.shape))}\n".encode())
    for plane in turned.T:  # slice by slice, as most files have them in memory
        digest.update(_whole_hu(plane).tobytes())
    return digest.hexdigest()


def _whole_hu(plane: NDArray[np.generic]) -> NDArray[np.int16]:
    if plane.dtype == np.int16:
        return plane.astype("<i2", copy=False)
    return np.rint(plane.astype(np.float64)).clip(_INT16.min, _INT16.max).astype("<i2")
