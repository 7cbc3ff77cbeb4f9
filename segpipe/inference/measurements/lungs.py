"""The right and the left lung, separated by the air in them, and how high they reach."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case, Volume
from segpipe.geometry import FloatArray, Grid, to_voxel, to_world
from segpipe.lesions import superior_axis
from segpipe.preprocessing.lungs import find_lung_air

COARSE_MM = 6.0
EROSIONS_MM = (6.0, 9.0, 12.0)
"""Both lungs can touch in front of the heart, and the trachea connects them; one of these separates them."""
SMALLER_LUNG = 0.25
LEAST_APART_MM = 50.0
CUT_SHARE = 0.1
Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("right", "left")


@dataclass(frozen=True, eq=False)
class Lungs:
    """Where the lungs are.

    Args:
        owner: For every voxel of a coarse grid the nearest lung: 1 for the first of `sides`, 2 for the second.
        gap_mm: For every voxel how far the nearest air of a lung is.
        grid: The coarse grid.
        sides: Right and left, or one None where the lungs could not be separated.
        height_mm: The lower end of the lungs and the upper one, in mm to the patient's head; None where the scan does
            not show both. It is of both lungs together, since a tumour or a collapsed lobe can shorten one.
    """

    owner: NDArray[np.uint8]
    gap_mm: FloatArray
    grid: Grid
    sides: tuple[Side | None, ...]
    height_mm: tuple[float, float] | None

    def nearest(self, positions_mm: FloatArray) -> tuple[int, float]:
        """The lung (0 or 1) that is nearest to any of some positions (n, 3), and how far it is in mm."""
        voxels = np.rint(to_voxel(self.grid.affine, positions_mm)).astype(np.int64)
        places = tuple(np.clip(voxels, 0, np.array(self.grid.shape) - 1).T)
        closest = int(np.argmin(self.gap_mm[places]))
        return int(self.owner[places][closest]) - 1, float(self.gap_mm[places][closest])


def separate_lungs(case: Case) -> Lungs | None:
    """Finds both lungs; None in a scan without any, e.g. a crop."""
    air = find_lung_air(case, coarse_mm=COARSE_MM)
    if air is None:
        return None
    seeds, reach_mm = _seeds(air)
    apart_mm, nearest = ndimage.distance_transform_edt(seeds == 0, sampling=air.grid.spacing_mm, return_indices=True)
    owner = seeds[tuple(nearest)]
    lung = air.array.astype(np.bool_) & (apart_mm <= reach_mm)  # without the trachea
    gap_mm = ndimage.distance_transform_edt(~lung, sampling=air.grid.spacing_mm)
    sides = SIDES if seeds.max() == 2 else (None,)
    return Lungs(owner, gap_mm, air.grid, sides, _height(lung, air.grid))


def _seeds(air: Volume) -> tuple[NDArray[np.uint8], float]:
    """The depths of the right (1) and the left lung (2), and how far a lung reaches beyond them; one lung if joined."""
    depth_mm = ndimage.distance_transform_edt(air.array, sampling=air.grid.spacing_mm)
    for erosion_mm in EROSIONS_MM:
        numbers, _ = ndimage.label(depth_mm > erosion_mm)
        sizes = np.bincount(numbers.ravel())[1:]
        if len(sizes) < 2:
            continue
        second, first = np.argsort(sizes)[-2:]
        centres = [to_world(air.grid.affine, np.argwhere(numbers == n + 1).mean(axis=0)) for n in (first, second)]
        to_right_mm = centres[0][0] - centres[1][0]
        if sizes[second] >= SMALLER_LUNG * sizes[first] and abs(to_right_mm) >= LEAST_APART_MM:
            right, left = (first, second) if to_right_mm > 0 else (second, first)
            return ((numbers == right + 1) + 2 * (numbers == left + 1)).astype(np.uint8), 2 * erosion_mm
    return air.array.astype(np.uint8), 0.0


def _height(lung: NDArray[np.bool_], grid: Grid) -> tuple[float, float] | None:
    """The lower and the upper end of the lungs in mm, or None where the scan's first or last slice cuts them."""
    across = superior_axis(grid)
    areas = np.count_nonzero(lung, axis=tuple({0, 1, 2} - {across}))
    if max(areas[0], areas[-1]) > CUT_SHARE * areas.max():
        return None
    up_mm = to_world(grid.affine, np.argwhere(lung))[:, 2]
    return float(up_mm.min()), float(up_mm.max())
