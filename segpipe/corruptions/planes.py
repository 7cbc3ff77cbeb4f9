"""A scan as its axial planes, whichever way its array lies: there a scanner does what it does."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid, axis_directions

WIDE_MM = 200.0
"""What is narrower is a crop."""
EMPTY_HU = -1024.0
"""Scanners fill what they have not seen with lower values."""
Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Planes:
    """A scan turned so that its axes run from side to side, from front to back and along the body, in any direction.

    Args:
        image_hu: float32 (x, y, z); a z is an axial plane.
        spacing_mm: Along these axes.
        mask: Labels of its voxels, uint8, if it has any.
        first: Which of the scan's planes is the first one here.
    """

    image_hu: Floats
    spacing_mm: Spacing
    mask: NDArray[np.uint8] | None = None
    first: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether they show a body, or a crop of one."""
        (x, y, _), (dx, dy, _) = self.image_hu.shape, self.spacing_mm
        return bool(min(x * dx, y * dy) >= WIDE_MM)

    def with_values(self, image_hu: NDArray[np.floating]) -> "Planes":
        """The same planes with other values."""
        return replace(self, image_hu=np.asarray(image_hu, dtype=np.float32))

    def mapped(self, change: Callable[[Floats], NDArray[np.floating]]) -> "Planes":
        """The planes after a change of each by itself, (x, y) → (x, y)."""
        return self.with_values(np.stack([change(plane) for plane in np.moveaxis(self.image_hu, 2, 0)], axis=2))

    @property
    def frequencies(self) -> tuple[Floats, Floats]:
        """Cycles per mm of a plane's two-dimensional real Fourier transform, along x and along y."""
        (x, y, _), (dx, dy, _) = self.image_hu.shape, self.spacing_mm
        return np.fft.fftfreq(x, dx)[:, None].astype(np.float32), np.fft.rfftfreq(y, dy)[None].astype(np.float32)


def filter_planes(planes: Planes, response: NDArray[np.inexact]) -> Planes:
    """The planes with their spectra multiplied; beyond its edge a plane is mirrored, so that none meets the other one.

    Args:
        planes: Any.
        response: For the frequencies of a plane that is `padded` on all sides.
    """
    x, y = planes.image_hu.shape[:2]

    def change(plane: Floats) -> NDArray[np.floating]:
        spectrum = np.fft.rfft2(np.pad(plane, _margins(plane), mode="symmetric"))
        wide = np.fft.irfft2(spectrum * response, s=_padded(plane))
        (left, _), (front, _) = _margins(plane)
        return wide[left : left + x, front : front + y]

    return planes.mapped(change)


def padded(planes: Planes) -> Planes:
    """Planes of the size with which `filter_planes` computes, without content."""
    x, y = _padded(planes.image_hu[:, :, 0])
    return Planes(np.zeros((x, y, 1), np.float32), planes.spacing_mm)


def from_case(case: Case) -> Planes:
    """The planes of a case; what lies outside the field of view is air in them."""
    order = _order(case.grid)
    x, y, z = (case.grid.spacing_mm[axis] for axis in order)
    mask = None if case.mask is None else case.mask.transpose(order)
    return Planes(case.image.transpose(order).astype(np.float32).clip(min=EMPTY_HU), (x, y, z), mask)


def to_case(planes: Planes, case: Case) -> Case:
    """The case with what has become of its planes: HU as int16, the grid that of the planes that are still there."""
    order = _order(case.grid)
    inverse = tuple(int(axis) for axis in np.argsort(order))
    info = np.iinfo(np.int16)
    image = np.rint(planes.image_hu.clip(info.min, info.max)).astype(np.int16).transpose(inverse)
    affine = case.grid.affine.copy()
    affine[:3, 3] += planes.first * affine[:3, order[2]]
    x, y, z = image.shape
    mask = None if planes.mask is None else np.ascontiguousarray(planes.mask.transpose(inverse))
    return Case(case.id, np.ascontiguousarray(image), Grid((x, y, z), affine), mask)


def either_way(rng: np.random.Generator) -> int:
    """1 or −1, drawn."""
    return 1 if rng.random() < 0.5 else -1


def _order(grid: Grid) -> tuple[int, int, int]:
    worlds = [world for world, _ in axis_directions(grid.affine)]
    x, y, z = (worlds.index(world) for world in range(3))
    return x, y, z


def _margins(plane: Floats) -> tuple[tuple[int, int], tuple[int, int]]:
    x, y = (min(side, max(8, side // 4)) for side in plane.shape)
    return (x, x), (y, y)


def _padded(plane: Floats) -> tuple[int, int]:
    (x, _), (y, _) = _margins(plane)
    return plane.shape[0] + 2 * x, plane.shape[1] + 2 * y
