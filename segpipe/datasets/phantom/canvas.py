"""One axial slice to paint on: shapes are distances in mm, edges are soft by the width of a voxel."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Triple = tuple[float, float, float]
AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class Axes:
    """Positions of voxel centres in mm: x to the patient's right, y to the front, z upwards.

    Args:
        x: (nx, 1).
        y: (1, ny).
        z: (nz,).
        step_mm: Voxel size along x, y, z.
    """

    x: Image
    y: Image
    z: Image
    step_mm: Triple

    @classmethod
    def around(
        cls,
        centre_mm: tuple[float, float, float],
        size_mm: tuple[float, float, float],
        step_mm: tuple[float, float, float],
    ) -> "Axes":
        """Axes of a box around a point."""
        counts = [round(size / step) for size, step in zip(size_mm, step_mm, strict=True)]
        x, y, z = (
            ((np.arange(count) - (count - 1) / 2) * step + centre).astype(np.float32)
            for count, step, centre in zip(counts, step_mm, centre_mm, strict=True)
        )
        return cls(x[:, None], y[None, :], z, step_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Counts along z, x, y: slices lie together in memory."""
        return len(self.z), self.x.shape[0], self.y.shape[1]

    @property
    def edge_mm(self) -> float:
        """Width over which the edge of a shape goes from full to empty."""
        return float(max(self.step_mm[:2]))

    def to_index(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fractional indices (n, 3) in the order z, x, y of points (n, 3) given as x, y, z."""
        first = np.array([self.z[0], self.x[0, 0], self.y[0, 0]])
        step = np.array([self.step_mm[2], self.step_mm[0], self.step_mm[1]])
        index: NDArray[np.float64] = (np.asarray(points_mm)[:, [2, 0, 1]] - first) / step
        return index

    def to_mm(self, indices: NDArray[np.integer]) -> NDArray[np.float64]:
        """Points (n, 3) as x, y, z of indices (n, 3) in the order z, x, y."""
        return np.stack([self.x[indices[:, 1], 0], self.y[0, indices[:, 2]], self.z[indices[:, 0]]], axis=1).astype(
            np.float64
        )


@dataclass(frozen=True, eq=False)
class Superellipse:
    """A closed outline around a centre, evaluated once and scaled from slice to slice.

    Args:
        axes: Where to evaluate it.
        centre: x, y in mm.
        half: Half-axes in mm.
        power: 2 is an ellipse, more is squarer.
    """

    axes: Axes
    centre: tuple[float, float]
    half: tuple[float, float]
    power: float

    @cached_property
    def level(self) -> Image:
        """1 on the outline, proportional to the distance from the centre along a ray."""
        dx, dy = self.axes.x - self.centre[0], self.axes.y - self.centre[1]
        terms = np.abs(dx / self.half[0]) ** self.power + np.abs(dy / self.half[1]) ** self.power
        return np.asarray(np.maximum(terms, 1e-9) ** (1 / self.power), dtype=np.float32)

    @cached_property
    def mm_per_level(self) -> Image:
        """Millimetres along the ray for one unit of `level`."""
        dx, dy = self.axes.x - self.centre[0], self.axes.y - self.centre[1]
        return np.asarray(np.sqrt(dx**2 + dy**2) / self.level, dtype=np.float32)

    @cached_property
    def turn(self) -> Image:
        """Angle around the centre: 0 at the back, ±π at the front, positive on the right."""
        dx, dy = self.axes.x - self.centre[0], self.axes.y - self.centre[1]
        return np.asarray(np.arctan2(dx, -dy), dtype=np.float32)

    def distance(self, scale: float) -> Image:
        """Distance in mm along the ray to the outline enlarged by `scale`, negative inside."""
        distance: Image = (self.level - np.float32(scale)) * self.mm_per_level
        return distance


def cover(distance: Image, edge_mm: float) -> Image:
    """Share of each voxel inside a shape, from its distance in mm (negative inside)."""
    share: Image = np.clip(0.5 - distance / np.float32(edge_mm), 0, 1)
    return share


def smooth_max(a: Image, b: Image, radius_mm: float) -> Image:
    """The larger of two distances with the crease rounded: the common part of two shapes."""
    larger: Image = (a + b + np.sqrt((a - b) ** 2 + np.float32(radius_mm**2))) / 2
    return larger


def smooth_min(a: Image, b: Image, radius_mm: float) -> Image:
    """The smaller of two distances with the crease filled: two shapes grown together."""
    smaller: Image = (a + b - np.sqrt((a - b) ** 2 + np.float32(radius_mm**2))) / 2
    return smaller


@dataclass(frozen=True, eq=False)
class Canvas:
    """A slice in HU that is being painted.

    Args:
        axes: The volume's axes.
        hu: (nx, ny), changed in place.
    """

    axes: Axes
    hu: Image

    def fill(self, distance: Image, hu: float | Image) -> None:
        """Paints everything inside a shape given by its distance in mm on the whole slice."""
        image = self.hu
        image += cover(distance, self.axes.edge_mm) * (hu - image)

    def ellipse(self, centre: tuple[float, float], half: tuple[float, float], hu: float, *, turn: float = 0.0) -> None:
        """Paints an upright ellipse, or one turned by an angle; only its box is touched."""
        if min(half) <= 0:
            return
        box = self._box(centre, max(half) + self.axes.edge_mm)
        dx, dy = self.axes.x[box[0]] - centre[0], self.axes.y[:, box[1]] - centre[1]
        distance = ellipse_distance(dx, dy, half, turn)
        part = self.hu[box]
        part += cover(distance, self.axes.edge_mm) * (hu - part)

    def bar(self, start: tuple[float, float], end: tuple[float, float], radius: float, hu: float) -> None:
        """Paints a thick line with round ends."""
        if radius <= 0:
            return
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        box = self._box(middle, np.hypot(start[0] - end[0], start[1] - end[1]) / 2 + radius + self.axes.edge_mm)
        distance = bar_distance(self.axes.x[box[0]], self.axes.y[:, box[1]], start, end) - np.float32(radius)
        part = self.hu[box]
        part += cover(distance, self.axes.edge_mm) * (hu - part)

    def _box(self, centre: tuple[float, float], reach: float) -> tuple[slice, slice]:
        x, y = self.axes.x[:, 0], self.axes.y[0]
        bounds = [np.searchsorted(line, (c - reach, c + reach)) for line, c in ((x, centre[0]), (y, centre[1]))]
        return slice(*map(int, bounds[0])), slice(*map(int, bounds[1]))


def ellipse_distance(dx: Image, dy: Image, half: tuple[float, float], turn: float = 0.0) -> Image:
    """Distance in mm to an ellipse around the origin, exact along its axes."""
    a, b = np.float32(half[0]), np.float32(half[1])
    if turn:
        c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        dx, dy = c * dx + s * dy, c * dy - s * dx
    level = np.sqrt((dx / a) ** 2 + (dy / b) ** 2)
    distance: Image = (level - 1) * np.sqrt(dx**2 + dy**2) / np.maximum(level, np.float32(1e-3))
    return distance


def bar_distance(x: Image, y: Image, start: tuple[float, float], end: tuple[float, float]) -> Image:
    """Distance in mm to a line segment."""
    ux, uy = end[0] - start[0], end[1] - start[1]
    length = max(ux**2 + uy**2, 1e-9)
    along = np.clip(((x - start[0]) * ux + (y - start[1]) * uy) / length, 0, 1)
    return np.sqrt((x - start[0] - along * ux) ** 2 + (y - start[1] - along * uy) ** 2).astype(np.float32)
