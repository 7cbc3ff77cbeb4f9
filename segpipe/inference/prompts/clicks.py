"""How far a point that a reader sets reaches: the deeper it lies in what is wrong, the farther."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid
from segpipe.inference.prompts.geodesic import Index
from segpipe.inference.prompts.prompt import Prompt, points_inside, voxels_at

DEPTH_MM = (1.0, 6.0)
"""The least and the largest depth that counts."""
UNKNOWN_DEPTH_MM = 3.0
"""The depth where no voxel of the window is as the reader says, e.g. where the network has found nothing."""
_IN_FULL, _REACH = 1.5, 4.5
"""Depths as far as which a point counts in full, and beyond which it does not count at all.

Chosen by simulated corrections (`benchmarks/corrections.py`): twice as wide did harm more often, and one reach for all
points, of 4 to 10 mm, gained half as much on the worst tenth.
"""


@dataclass(frozen=True)
class Click:
    """A voxel that a reader has pointed at.

    Args:
        voxel: Its index.
        sign: 1 inside the lesion, -1 outside.
        depth_mm: Distance to the nearest voxel that is as the reader says already, or to the nearest other click.
    """

    voxel: Index
    sign: int
    depth_mm: float

    @property
    def reach_mm(self) -> float:
        """The length of way beyond which it changes nothing."""
        return _REACH * self.depth_mm

    def weight(self, distance_mm: NDArray[np.float32]) -> NDArray[np.float32]:
        """What part of its change voxels get at these distances: all of it near by, none at the end of its reach."""
        left = (self.reach_mm - distance_mm) / ((_REACH - _IN_FULL) * self.depth_mm)
        return np.asarray(left.clip(0, 1), dtype=np.float32)


def find_clicks(prompt: Prompt, grid: Grid, *, foreground: NDArray[np.bool_]) -> list[Click]:
    """The clicks of a prompt in a window; a line is one click in each of its voxels.

    Args:
        prompt: What the reader says.
        grid: Of the window.
        foreground: What the network says, (x, y, z).
    """
    inside, outside = (voxels_at(points, grid) for points in (points_inside(prompt, grid), prompt.negatives))
    voxels, spacing = [*inside, *outside], grid.spacing_mm
    signs = [1] * len(inside) + [-1] * len(outside)
    right = {sign: _distance_mm(foreground == (sign > 0), spacing) for sign in set(signs)}
    wrong = [right[sign][voxel] for voxel, sign in zip(voxels, signs, strict=True)]
    depths = np.clip(np.minimum(wrong, _apart_mm(voxels, spacing)), *DEPTH_MM).tolist()
    return [Click(*each) for each in zip(voxels, signs, depths, strict=True)]


def _distance_mm(mask: NDArray[np.bool_], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Distance of each voxel from the mask."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return np.full(mask.shape, UNKNOWN_DEPTH_MM)
    return np.asarray(distance_transform_edt(~mask, sampling=spacing_mm))


def _apart_mm(voxels: Sequence[Index], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """Distance of each voxel from the nearest other one."""
    from scipy.spatial.distance import cdist

    places = np.reshape(voxels, (-1, 3)) * np.array(spacing_mm)
    apart = cdist(places, places)
    np.fill_diagonal(apart, np.inf)
    return np.asarray(apart.min(axis=1, initial=np.inf))
