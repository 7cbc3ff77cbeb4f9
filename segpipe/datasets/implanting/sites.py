"""Where in a host a nodule may lie: in places like the one that it grew in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case
from segpipe.datasets.implanting.blending import Pose
from segpipe.datasets.implanting.donor import DENSE_HU, PARENCHYMA_HU, VESSEL_MM3, Donor
from segpipe.datasets.implanting.noise import Noise, measure_noise
from segpipe.errors import ImageError
from segpipe.geometry import FloatArray, to_voxel, to_world
from segpipe.lesions import superior_axis
from segpipe.preprocessing.lungs import find_lung_air

APART_MM = 8.0
_COARSE_MM = 3.0
_CLOSING_MM = 6.0  # half the width of vessels and lesions in the lungs that still count as lung
_AIR_HU, _MOST_AIR, _MOST_DENSE = -960.0, 0.3, 0.2
_CLEAR_MM, _WALL_TOLERANCE_MM = 5.0, 2.0
_LEAST_ALIKE = 0.6  # of what is dense at either place, so that no wall of the nodule's own is seen away from a wall
_TRIES = 600
_EVERY_SLICE = 8


@dataclass(frozen=True, eq=False)
class Ball:
    """A place that is taken: centre in mm, (3,), and radius."""

    centre_mm: FloatArray
    radius_mm: float


@dataclass(frozen=True, eq=False)
class LungSites:
    """The lung tissue of a host on a coarse grid.

    Args:
        case: The host.
        points_mm: Positions in lung tissue, (n, 3).
        wall_mm: From each to the nearest point that is no lung, (n, 3).
    """

    case: Case
    points_mm: FloatArray
    wall_mm: FloatArray

    @classmethod
    def of(cls, case: Case) -> "LungSites":
        """Finds the lungs of a host.

        Raises:
            ImageError: when there are none.
        """
        air = find_lung_air(case, coarse_mm=_COARSE_MM)
        if air is None:
            raise ImageError(
                "a host must show the lungs",
                facts={"case": case.id},
                hint="take it out of the hosts; crops have no room",
            )
        box = _box_around(air.array)
        tissue, spacing_mm = air.array[box].astype(bool), air.grid.spacing_mm
        lung = _with_vessels(tissue, spacing_mm)
        nearest = ndimage.distance_transform_edt(lung, sampling=spacing_mm, return_distances=False, return_indices=True)
        indices = np.argwhere(tissue)
        start = [part.start for part in box]
        points = to_world(air.grid.affine, indices + start)
        wall = to_world(air.grid.affine, np.moveaxis(nearest, 0, -1)[tuple(indices.T)] + start)
        return cls(case, points, wall - points)

    def noise(self) -> Noise | None:
        """The noise of the host's lung tissue, from every so many slices."""
        vertical = superior_axis(self.case.grid)
        ends = to_voxel(self.case.grid.affine, np.stack([self.points_mm.min(axis=0), self.points_mm.max(axis=0)]))
        low, high = np.sort(np.rint(ends).astype(int), axis=0)
        steps = [_EVERY_SLICE if axis == vertical else 1 for axis in range(3)]
        part = self.case.image[
            tuple(slice(max(0, a), b + 1, step) for a, b, step in zip(low, high, steps, strict=True))
        ]
        tissue = np.greater(part, PARENCHYMA_HU[0]) & np.less(part, PARENCHYMA_HU[1])
        return measure_noise(part, tissue, vertical=vertical)

    def find(self, donor: Donor, taken: Sequence[Ball], rng: np.random.Generator) -> Pose | None:
        """A place for a nodule like the one it grew in, apart from what is taken; None where no try succeeds."""
        candidates = np.flatnonzero(self._has_wall_like(donor))
        for index in rng.permutation(candidates)[:_TRIES]:
            pose = Pose(self.points_mm[index], _turn(donor, self.wall_mm[index], rng))
            if _is_apart(pose, donor, taken) and self._is_alike(pose, donor):
                return pose
        return None

    def _has_wall_like(self, donor: Donor) -> NDArray[np.bool_]:
        """Where the wall is as near as it was to the nodule, or farther than its surroundings showed."""
        distances = np.linalg.norm(self.wall_mm, axis=1)
        if donor.wall_mm is None:
            return np.asarray(distances >= donor.reach_mm + _CLEAR_MM, dtype=np.bool_)
        off = np.abs(distances - np.linalg.norm(donor.wall_mm))
        return np.asarray(off <= _WALL_TOLERANCE_MM, dtype=np.bool_)

    def _is_alike(self, pose: Pose, donor: Donor) -> bool:
        """Whether the place is lung tissue, with as much that is dense around it, and a wall on the same side."""
        core, around = self._hu_at(pose, donor.core_mm), self._hu_at(pose, donor.shell.points_mm)
        if core is None or around is None:
            return False
        if np.mean(np.less(core, _AIR_HU)) > _MOST_AIR or np.mean(np.greater(core, DENSE_HU)) > _MOST_DENSE:
            return False
        here, there = np.greater(around, DENSE_HU), donor.shell.dense
        amount, own = donor.shell.dense_mm3(here), donor.shell.dense_mm3(there)
        if abs(amount - own) > VESSEL_MM3 / 2 + own / 2:
            return False
        both, either = np.count_nonzero(here & there), np.count_nonzero(here | there)
        return donor.place != "juxta-pleural" or bool(both >= _LEAST_ALIKE * either)

    def _hu_at(self, pose: Pose, offsets_mm: FloatArray) -> NDArray[np.generic] | None:
        """HU of the nearest voxels, or None where one lies outside the host."""
        voxels = np.rint(to_voxel(self.case.grid.affine, pose.to_host(offsets_mm))).astype(int)
        if (voxels < 0).any() or (voxels >= self.case.grid.shape).any():
            return None
        return np.asarray(self.case.image[tuple(voxels.T)])


def _box_around(air: NDArray[np.generic]) -> tuple[slice, ...]:
    """The lungs' box with a voxel around it, as far as the scan goes."""
    ends = np.argwhere(air)
    low, high = np.maximum(ends.min(axis=0) - 1, 0), ends.max(axis=0) + 2
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _with_vessels(air: NDArray[np.bool_], spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
    """The lungs with what is thin in them: a closing by a ball of `_CLOSING_MM`."""
    margin = [1 + int(np.ceil(_CLOSING_MM / mm)) for mm in spacing_mm]
    padded = np.pad(air, [(count, count) for count in margin])
    reached = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= _CLOSING_MM
    closed = padded | (ndimage.distance_transform_edt(reached, sampling=spacing_mm) > _CLOSING_MM)
    inner = tuple(slice(count, count + length) for count, length in zip(margin, air.shape, strict=True))
    return np.asarray(closed[inner], dtype=np.bool_)


def _turn(donor: Donor, wall_mm: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A turn around the body's axis and mirrors across the body and along it; towards the wall where there was one.

    Slices stay slices, since a scan's blur along the body is not that across it.
    """
    mirror = np.diag([rng.choice([-1.0, 1.0]), 1.0, rng.choice([-1.0, 1.0])])
    angle = rng.uniform(-np.pi, np.pi)
    if donor.wall_mm is not None:
        if donor.wall_mm[2] * wall_mm[2] != 0:
            mirror[2, 2] = np.sign(donor.wall_mm[2] * wall_mm[2])
        own = mirror @ donor.wall_mm
        angle = np.arctan2(wall_mm[1], wall_mm[0]) - np.arctan2(own[1], own[0])
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ mirror


def _is_apart(pose: Pose, donor: Donor, taken: Sequence[Ball]) -> bool:
    return all(
        np.linalg.norm(pose.centre_mm - ball.centre_mm) >= ball.radius_mm + donor.reach_mm + APART_MM for ball in taken
    )
