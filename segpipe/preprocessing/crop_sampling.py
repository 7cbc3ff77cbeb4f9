"""Crops around a point of a scan, along the patient's axes: where their voxels lie, and what is there."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_voxel

Positions = NDArray[np.float64]


def crop_positions(
    grid: Grid,
    centre_mm: tuple[float, float, float],
    *,
    sides: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
) -> Positions:
    """Where the voxels of a crop lie in the array of a scan, (3, voxels).

    Args:
        grid: The scan's own grid.
        centre_mm: The middle of the crop, RAS+.
        sides: Voxels along each axis of the patient.
        spacing_mm: Their size.
    """
    steps = [(np.arange(side) - (side - 1) / 2) * mm for side, mm in zip(sides, spacing_mm, strict=True)]
    offsets = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(to_voxel(grid.affine, offsets + np.asarray(centre_mm))).T


def sample_crop(array: NDArray[Any], positions: Positions, *, mode: str) -> NDArray[np.float32]:
    """Values between voxels, linearly; beyond the array its border (`nearest`) or 0 (`constant`)."""
    from scipy.ndimage import map_coordinates

    low = np.maximum(np.floor(positions.min(axis=1)).astype(int), 0)
    high = np.minimum(np.ceil(positions.max(axis=1)).astype(int) + 1, array.shape)
    box = array[tuple(slice(*ends) for ends in zip(low, high, strict=True))].astype(np.float32)
    return np.asarray(map_coordinates(box, positions - low[:, None], order=1, mode=mode), dtype=np.float32)
