"""What two scans of a patient show of each other's lesions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from segpipe.case import Volume
from segpipe.geometry import FloatArray, Grid, to_voxel, to_world
from segpipe.inference.follow_up.registration import WINDOW_HU

SURROUNDINGS_MM = 24.0
STEP_MM = 4.0
LEAST_AGREEMENT = 0.7
"""Correlation around a place from which the alignment is trusted there; a breath can undo it in a part of the lungs."""
_FEWEST_POINTS = 100
_FLAT_HU = 10.0


@dataclass(frozen=True, eq=False)
class Views:
    """What two scans show, and how they lie to each other.

    Args:
        earlier: Grid of the earlier scan.
        later: Grid of the later scan.
        matrix: 4×4, positions (RAS+ mm) of the earlier scan → of the later one.
        thumbnails: Coarse copies of the earlier and the later scan; without them the alignment is trusted everywhere.
    """

    earlier: Grid
    later: Grid
    matrix: FloatArray
    thumbnails: tuple[Volume, Volume] | None = None

    def in_later(self, position_mm: Sequence[float], *, radius_mm: float) -> bool:
        """Whether the later scan shows a lesion's place in the earlier one: all of it, and aligned."""
        place = to_world(self.matrix, position_mm)
        return _holds(self.later, place, radius_mm) and self._aligned(np.asarray(position_mm), radius_mm)

    def in_earlier(self, position_mm: Sequence[float], *, radius_mm: float) -> bool:
        """Whether the earlier scan shows a lesion's place in the later one: all of it, and aligned."""
        place = to_world(np.linalg.inv(self.matrix), position_mm)
        return _holds(self.earlier, place, radius_mm) and self._aligned(place, radius_mm)

    def _aligned(self, place_mm: FloatArray, radius_mm: float) -> bool:
        """Whether the scans look alike around a place of the earlier one; the lesion itself does not count."""
        if self.thumbnails is None:
            return True
        offsets = _offsets(radius_mm)
        earlier, later = self.thumbnails
        values = np.stack(
            [_sample(earlier, place_mm + offsets), _sample(later, to_world(self.matrix, place_mm + offsets))]
        )
        values = values[:, np.isfinite(values).all(axis=0)]
        if values.shape[1] < _FEWEST_POINTS or values.std(axis=1).min() < _FLAT_HU:
            return False
        return bool(np.corrcoef(values[0], values[1])[0, 1] >= LEAST_AGREEMENT)


def _holds(grid: Grid, place_mm: FloatArray, radius_mm: float) -> bool:
    """Whether a ball around a place (RAS+ mm) lies in the grid."""
    index, reach = to_voxel(grid.affine, place_mm), radius_mm / np.array(grid.spacing_mm)
    return bool(np.all(index - reach >= -0.5) and np.all(index + reach <= np.array(grid.shape) - 0.5))


def _offsets(radius_mm: float) -> FloatArray:
    """Points (n, 3) of a cube around a lesion and outside of it, relative to its centre."""
    reach = SURROUNDINGS_MM + radius_mm
    steps = np.arange(-reach, reach + 1e-6, STEP_MM)
    points = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(points[np.linalg.norm(points, axis=1) > radius_mm + STEP_MM])


def _sample(volume: Volume, places_mm: FloatArray) -> FloatArray:
    """HU at places (n, 3), clipped to the window of the alignment; NaN outside."""
    indices = to_voxel(volume.grid.affine, places_mm).T
    found = map_coordinates(volume.array, indices, output=np.float64, order=1, cval=np.nan)
    return np.asarray(np.clip(found, *WINDOW_HU))
