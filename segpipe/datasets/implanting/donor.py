"""A real nodule that can be put elsewhere: its voxels and mask, and what surrounded it where it grew."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case
from segpipe.errors import DatasetError
from segpipe.geometry import FloatArray, Grid, to_world
from segpipe.lesions import Voxels, equivalent_diameter_mm, find_components, superior_axis

Place = Literal["isolated", "juxta-vascular", "juxta-pleural"]
Mask = NDArray[np.bool_]

SURROUNDINGS_MM = 15.0
DENSE_HU, PARENCHYMA_HU = -450.0, (-980.0, -650.0)
"""What stands out from lung tissue, e.g. vessels and walls; and what is lung tissue for certain."""
SHELL_MM = (1.5, 3.5)
"""Distances from the nodule's surface at which its neighbourhood is looked at: beyond the blur of its own edge."""
VESSEL_MM3, WALL_SHARE = 10.0, 0.02
"""What is dense in the shell: a vessel of 2.5 mm that crosses it; and the share of it from which on it is a wall."""
SMALLEST_MM = 3.0
"""Smaller pieces are specks of a mask: nodules so small are rarely outlined."""
_WALL_MM = 3.0  # radius of the disc that a wall is thicker than, and a vessel of the periphery is not
_FEWEST_PARENCHYMA = 50
_POINTS = 400


@dataclass(frozen=True, eq=False)
class Donor:
    """A nodule and its surroundings, in HU.

    Args:
        hu: float32, (x, y, z).
        inside: The nodule.
        grid: Of both.
    """

    hu: NDArray[np.float32]
    inside: Mask
    grid: Grid

    @property
    def volume_mm3(self) -> float:
        """Of its mask."""
        return float(np.count_nonzero(self.inside) * self.grid.voxel_volume_mm3)

    @property
    def diameter_mm(self) -> float:
        """Of the ball of the same volume."""
        return equivalent_diameter_mm(self.volume_mm3)

    @cached_property
    def centre_mm(self) -> FloatArray:
        """The voxel nearest to the centre of its mask, (3,): put on a voxel of a host, slices meet slices."""
        return to_world(self.grid.affine, np.rint(Voxels.of(np.argwhere(self.inside)).centre))

    @cached_property
    def distance_mm(self) -> FloatArray:
        """Distance of each voxel from the mask, 0 inside."""
        distance = ndimage.distance_transform_edt(~self.inside, sampling=self.grid.spacing_mm)
        return np.asarray(distance, dtype=np.float64)

    @cached_property
    def parenchyma(self) -> Mask:
        """The lung tissue around it."""
        low, high = PARENCHYMA_HU
        return (self.hu > low) & (self.hu < high) & (self.distance_mm > SHELL_MM[0])

    @cached_property
    def background_hu(self) -> float:
        """Density of the lung tissue around it."""
        return float(np.median(self.hu[self.parenchyma]))

    @cached_property
    def wall(self) -> Mask:
        """What is dense and thick around it: chest wall, mediastinum, diaphragm, large vessels."""
        dense = (self.hu > DENSE_HU) & (self.distance_mm > SHELL_MM[0])
        flat = np.moveaxis(dense, superior_axis(self.grid), 2)
        spacing = [mm for axis, mm in enumerate(self.grid.spacing_mm) if axis != superior_axis(self.grid)]
        thick = np.stack([_opened(flat[:, :, index], spacing) for index in range(flat.shape[2])], axis=2)
        return np.moveaxis(thick, 2, superior_axis(self.grid))

    @cached_property
    def shell(self) -> "Neighbourhood":
        """Points around it, and which of them are dense."""
        near = (self.distance_mm > SHELL_MM[0]) & (self.distance_mm < SHELL_MM[1])
        indices = _thinned(np.argwhere(near))
        volume = float(np.count_nonzero(near) * self.grid.voxel_volume_mm3)
        return Neighbourhood(self._around_centre(indices), self.hu[tuple(indices.T)] > DENSE_HU, volume)

    @cached_property
    def core_mm(self) -> FloatArray:
        """Points of the nodule relative to its centre, (n, 3)."""
        return self._around_centre(_thinned(np.argwhere(self.inside)))

    @cached_property
    def half_extent_mm(self) -> FloatArray:
        """How far it reaches from its centre along x, y, z of its scan, (3,)."""
        return np.asarray(np.abs(self._around_centre(np.argwhere(self.inside))).max(axis=0), dtype=np.float64)

    @property
    def reach_mm(self) -> float:
        """No point of it lies farther from its centre."""
        return float(np.linalg.norm(self.half_extent_mm))

    @cached_property
    def wall_mm(self) -> FloatArray | None:
        """The nearest point of a wall relative to the centre, or None where the surroundings show none."""
        points = self._around_centre(np.argwhere(self.wall))
        if not len(points):
            return None
        distances = np.linalg.norm(points, axis=1)
        # the mean of what is nearest: one voxel alone has no direction to speak of
        return np.asarray(points[distances <= distances.min() + 2.0].mean(axis=0), dtype=np.float64)

    @cached_property
    def place(self) -> Place:
        """What it grew next to."""
        near = (self.distance_mm > SHELL_MM[0]) & (self.distance_mm < SHELL_MM[1])
        if np.count_nonzero(self.wall & near) > WALL_SHARE * np.count_nonzero(near):
            return "juxta-pleural"
        return "juxta-vascular" if self.shell.dense_mm3(self.shell.dense) > VESSEL_MM3 else "isolated"

    def _around_centre(self, indices: NDArray[np.integer]) -> FloatArray:
        return to_world(self.grid.affine, indices) - self.centre_mm


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Points around a nodule.

    Args:
        points_mm: Relative to its centre, (n, 3).
        dense: Whether each is, (n,).
        volume_mm3: Of what they stand for.
    """

    points_mm: FloatArray
    dense: Mask
    volume_mm3: float

    def dense_mm3(self, dense: Mask) -> float:
        """How much is dense if these of the points are."""
        return float(dense.mean()) * self.volume_mm3 if len(dense) else 0.0


def cut_donor(case: Case, rng: np.random.Generator) -> Donor:
    """One nodule of a case, drawn where there are several, with what the scan shows around it.

    Raises:
        DatasetError: for a case without any lesion, or a nodule without lung tissue around it.
    """
    mask = case.mask
    if mask is None or not mask.any():
        raise DatasetError("a case to take a nodule from must have a lesion", facts={"case": case.id})
    components = find_components(mask)
    sizes = [equivalent_diameter_mm(count * case.grid.voxel_volume_mm3) for count in components.voxel_counts]
    whole = sum(size >= SMALLEST_MM for size in sizes)  # the first ones, as they are numbered by size
    voxels = components.voxels(1 + int(rng.integers(max(1, whole))))
    margin = np.ceil(SURROUNDINGS_MM / np.array(case.grid.spacing_mm)).astype(int)
    low = np.maximum(np.array(voxels.start) - margin, 0)
    high = np.minimum(np.array(voxels.start) + voxels.inside.shape + margin, mask.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    inside = np.zeros(high - low, dtype=np.bool_)
    inside[tuple((voxels.indices - low).T)] = True
    affine = case.grid.affine.copy()
    affine[:3, 3] = to_world(affine, low)
    x, y, z = inside.shape
    donor = Donor(case.image[box].astype(np.float32), inside, Grid((x, y, z), affine))
    if np.count_nonzero(donor.parenchyma) < _FEWEST_PARENCHYMA:
        raise DatasetError("a nodule must have lung tissue around it", facts={"case": case.id})
    return donor


def _opened(plane: Mask, spacing_mm: list[float]) -> Mask:
    """The parts of a plane that hold a disc of `_WALL_MM`; what lies outside the plane is like its edge."""
    counts = [int(_WALL_MM / mm) for mm in spacing_mm]
    x, y = np.ogrid[-counts[0] : counts[0] + 1, -counts[1] : counts[1] + 1]
    disc = (x * spacing_mm[0]) ** 2 + (y * spacing_mm[1]) ** 2 <= _WALL_MM**2
    padded = np.pad(plane, [(count, count) for count in counts], mode="edge")
    opened = ndimage.binary_opening(padded, disc)
    return np.asarray(opened[counts[0] : -counts[0] or None, counts[1] : -counts[1] or None], dtype=np.bool_)


def _thinned(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most about `_POINTS` of them, evenly."""
    return indices[:: max(1, len(indices) // _POINTS)]
