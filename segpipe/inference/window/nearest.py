"""Labels in a window: of each voxel the nearest one of the scan."""

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.inference.window.grid import InferenceGrid
from segpipe.preprocessing.resampling import orient


def nearest_values(array: NDArray[np.generic], grid: InferenceGrid) -> torch.Tensor:
    """The values of an array on the scan's grid in the box of a window, (x, y, z); 0 outside the scan."""
    oriented = orient(array, grid.preparation)
    places = [grid.scan_positions(axis).round().long() for axis in range(3)]
    within = [(place >= 0) & (place < length) for place, length in zip(places, oriented.shape, strict=True)]
    clamped = [place.clamp(0, length - 1) for place, length in zip(places, oriented.shape, strict=True)]
    shown = torch.from_numpy(np.ascontiguousarray(oriented[np.ix_(*clamped)]))
    return shown.masked_fill(~(within[0][:, None, None] & within[1][:, None] & within[2]), 0)
