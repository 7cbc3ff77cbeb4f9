"""Lesions: the connected components of a mask and their measurements."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import FloatArray, Grid, axis_directions, to_world

CONNECTIVITY: Final = 26
Box = tuple[slice, slice, slice]
_SUPERIOR = 2
TIE_MM = 1e-6
"""Distances that differ by less are equal."""


@dataclass(frozen=True)
class Lesion:
    """One connected component of a mask.

    Args:
        number: 1 for the largest.
        volume_mm3: Voxel count times voxel volume.
        longest_diameter_mm: Largest distance between the centres of two of its voxels, in 3-D, plus one mean voxel
            edge, so that a single voxel has its own size and not zero.
        centre_mm: Centroid in RAS+ mm.
    """

    number: int
    volume_mm3: float
    longest_diameter_mm: float
    centre_mm: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Voxels:
    """The voxels of one lesion, as a box that they fill in part; a list of indices would take many times the memory.

    Args:
        inside: True for its voxels.
        start: Index of the box's first voxel in the mask.
    """

    inside: NDArray[np.bool_]
    start: tuple[int, int, int]

    @classmethod
    def of(cls, indices: NDArray[np.integer]) -> "Voxels":
        """The voxels with these indices (n, 3)."""
        x, y, z = (int(start) for start in indices.min(axis=0))
        inside = np.zeros(indices.max(axis=0) - (x, y, z) + 1, dtype=np.bool_)
        inside[tuple((indices - (x, y, z)).T)] = True
        return cls(inside, (x, y, z))

    @property
    def count(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self.inside))

    @property
    def centre(self) -> FloatArray:
        """Mean index in the mask, (3,)."""
        lines = [self.inside.sum(axis=tuple({0, 1, 2} - {axis}), dtype=np.int64) for axis in range(3)]
        means = [(np.arange(len(line)) @ line) / line.sum() for line in lines]
        return np.array(means) + self.start

    @property
    def indices(self) -> NDArray[np.int64]:
        """Indices (n, 3) in the mask."""
        return np.asarray(np.argwhere(self.inside) + self.start, dtype=np.int64)

    def line_ends(self, axis: int) -> NDArray[np.int64]:
        """Indices of the first and the last voxel of every line along `axis`; the farthest two are among them."""
        hit = self.inside.any(axis=axis)
        first = self.inside.argmax(axis=axis)[hit]
        last = self.inside.shape[axis] - 1 - np.flip(self.inside, axis).argmax(axis=axis)[hit]
        lines = np.argwhere(hit)
        ends = np.empty((2, len(lines), 3), dtype=np.int64)
        ends[:, :, [other for other in range(3) if other != axis]] = lines
        ends[:, :, axis] = first, last
        return ends.reshape(-1, 3) + self.start


@dataclass(frozen=True, eq=False)
class Components:
    """The 26-connected components of a mask, numbered from 1, largest first.

    Args:
        box: The part of the mask that holds all foreground; only this part is kept.
        numbers: The number of each voxel of that part, 0 = background.
        parts: Box of each component, in indices of the mask.
        voxel_counts: Voxels of each component.
    """

    box: Box
    numbers: NDArray[np.unsignedinteger]
    parts: tuple[Box, ...]
    voxel_counts: tuple[int, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.parts)

    def voxels(self, number: int) -> Voxels:
        """The voxels of a component."""
        part = self.parts[number - 1]
        own = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, self.box, strict=True))
        return Voxels(np.asarray(self.numbers[own] == number), (part[0].start, part[1].start, part[2].start))

    def indices(self, number: int) -> NDArray[np.int64]:
        """Voxel indices (n, 3) of a component in the mask."""
        return self.voxels(number).indices


def find_components(mask: NDArray[np.generic], *, within: Box | None = None) -> Components:
    """Numbers the 26-connected components of a mask's foreground, largest first.

    Only the box around the foreground is numbered, so that a small lesion in a large scan costs little memory.

    Args:
        mask: The mask.
        within: A part of it that holds all foreground; the rest is not even looked at.
    """
    import cc3d

    box = _foreground_box(mask) if within is None else _shifted(_foreground_box(mask[within]), within)
    if not mask[box].size:
        return Components(box, np.zeros((0, 0, 0), dtype=np.uint16), (), ())
    padded = cc3d.connected_components(_padded(mask[box]), connectivity=CONNECTIVITY, binary_image=True)
    statistics = cc3d.statistics(padded)
    numbers = padded[:-1, :-1, :-1]
    counts = np.asarray(statistics["voxel_counts"], dtype=np.int64)[1:]
    order = np.argsort(-counts, kind="stable")
    rank = np.zeros(len(counts) + 1, dtype=numbers.dtype)
    rank[order + 1] = np.arange(1, len(counts) + 1)
    for plane in np.moveaxis(numbers, int(np.argmax(numbers.strides)), 0):
        plane[...] = rank[plane]
    parts = [_shifted(statistics["bounding_boxes"][1 + index], box) for index in order]
    return Components(box, numbers, tuple(parts), tuple(counts[order].tolist()))


def label_lesions(mask: NDArray[np.generic]) -> tuple[NDArray[np.uint32], int]:
    """Numbers the 26-connected components of a mask's foreground, largest first.

    Returns:
        The numbered array (0 = background) on the whole grid, and the count.
    """
    components = find_components(mask)
    whole = np.zeros(mask.shape, dtype=np.uint32)
    whole[components.box] = components.numbers
    return whole, components.count


def measure_components(components: Components, grid: Grid) -> list[Lesion]:
    """Measures each component on `grid`, in the order of their numbers."""
    numbers = range(1, components.count + 1)
    return [measure_lesion(components.voxels(number), grid, number=number) for number in numbers]


def measure_lesions(components: NDArray[np.uint32], grid: Grid) -> list[Lesion]:
    """Measures each component of a numbered array on `grid`, in the order of their numbers."""
    from scipy.ndimage import find_objects

    lesions = []
    for number, box in enumerate(find_objects(components.astype(np.int32)), start=1):
        voxels = Voxels(components[box] == number, (box[0].start, box[1].start, box[2].start))
        lesions.append(measure_lesion(voxels, grid, number=number))
    return lesions


def measure_lesion(voxels: Voxels, grid: Grid, *, number: int) -> Lesion:
    """Measures one lesion of a mask on `grid`."""
    x, y, z = to_world(grid.affine, voxels.centre)
    longest, _ = find_farthest(to_world(grid.affine, voxels.line_ends(axis=0)))
    return Lesion(
        number=number,
        volume_mm3=voxels.count * grid.voxel_volume_mm3,
        longest_diameter_mm=longest + float(np.mean(grid.spacing_mm)),
        centre_mm=(float(x), float(y), float(z)),
    )


def superior_axis(grid: Grid) -> int:
    """The array axis that runs nearest to the patient's long axis; its slices are the axial ones."""
    return next(axis for axis, (world, _) in enumerate(axis_directions(grid.affine)) if world == _SUPERIOR)


def equivalent_diameter_mm(volume_mm3: float) -> float:
    """Diameter of the sphere with this volume.

    >>> round(equivalent_diameter_mm(4188.79), 3)
    20.0
    """
    return float(np.cbrt(6 * volume_mm3 / np.pi))


def find_farthest(points: FloatArray) -> tuple[float, FloatArray]:
    """The largest distance between two points (n, dimensions), and the way from one to the other of all pairs with it.

    Only corners of the convex hull can be these points.
    """
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import pdist

    if len(points) == 1:
        return 0.0, np.zeros_like(points)
    if len(points) > 50:
        with suppress(QhullError):  # flat lesions have no hull
            points = points[ConvexHull(points).vertices]
    distances = pdist(points)
    longest = int(np.argmax(distances))
    pairs = np.flatnonzero(distances >= distances[longest] - TIE_MM)  # of (0, 1), (0, 2), … (1, 2), …
    ends = np.cumsum(np.arange(len(points) - 1, 0, -1))
    first = np.searchsorted(ends, pairs, side="right")
    ways = points[pairs - ends[first] + len(points)] - points[first]
    return float(np.linalg.norm(ways[np.searchsorted(pairs, longest)])), ways


def _foreground_box(mask: NDArray[np.generic]) -> Box:
    """The smallest box around all foreground; empty at the origin when there is none."""
    edges: list[slice] = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask[tuple(edges)].any(axis=others))
        edges.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0))
    return edges[0], edges[1], edges[2]


def _padded(part: NDArray[np.generic]) -> NDArray[np.bool_]:
    """The foreground with one empty voxel after the end of each axis; cc3d fails on some masks one voxel thick."""
    x, y, z = (length + 1 for length in part.shape)
    padded = np.zeros((x, y, z), dtype=np.bool_, order="F" if part.strides[0] < part.strides[2] else "C")
    np.not_equal(part, 0, out=padded[:-1, :-1, :-1])
    return padded


def _shifted(part: Sequence[slice], box: Box) -> Box:
    x, y, z = (slice(own.start + by.start, own.stop + by.start) for own, by in zip(part, box, strict=True))
    return x, y, z
