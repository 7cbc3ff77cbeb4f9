"""Lesions: the connected components of a mask and their measurements."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_world

CONNECTIVITY: Final = 26
Box = tuple[slice, slice, slice]


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

    def indices(self, number: int) -> NDArray[np.int64]:
        """Voxel indices (n, 3) of a component in the mask."""
        part = self.parts[number - 1]
        inside = tuple(
            slice(own.start - whole.start, own.stop - whole.start) for own, whole in zip(part, self.box, strict=True)
        )
        return np.asarray(np.argwhere(self.numbers[inside] == number) + [axis.start for axis in part], dtype=np.int64)

    def only(self, kept: Sequence[int]) -> "Components":
        """The components with these numbers, which become 1, 2, … in the order given."""
        renumber = np.zeros(self.count + 1, dtype=self.numbers.dtype)
        renumber[list(kept)] = np.arange(1, len(kept) + 1, dtype=self.numbers.dtype)
        parts = tuple(self.parts[number - 1] for number in kept)
        counts = tuple(self.voxel_counts[number - 1] for number in kept)
        return Components(self.box, renumber[self.numbers], parts, counts)


def find_components(mask: NDArray[np.generic]) -> Components:
    """Numbers the 26-connected components of a mask's foreground, largest first.

    Only the box around the foreground is numbered, so that a small lesion in a large scan costs little memory.
    """
    import cc3d

    box = _foreground_box(mask)
    if not mask[box].size:
        return Components(box, np.zeros((0, 0, 0), dtype=np.uint16), (), ())
    numbers = cc3d.connected_components(np.asarray(mask[box] != 0), connectivity=CONNECTIVITY, binary_image=True)
    statistics = cc3d.statistics(numbers)
    counts = [int(count) for count in statistics["voxel_counts"][1:]]
    parts = [_shifted(part, box) for part in statistics["bounding_boxes"][1:]]
    found = Components(box, numbers, tuple(parts), tuple(counts))
    return found.only(sorted(range(1, len(counts) + 1), key=lambda number: -counts[number - 1]))


def label_lesions(mask: NDArray[np.generic]) -> tuple[NDArray[np.uint32], int]:
    """Numbers the 26-connected components of a mask's foreground, largest first.

    Returns:
        The numbered array (0 = background) on the whole grid, and the count.
    """
    components = find_components(mask)
    whole = np.zeros(mask.shape, dtype=np.uint32)
    whole[components.box] = components.numbers
    return whole, components.count


def measure_lesions(components: NDArray[np.uint32], grid: Grid) -> list[Lesion]:
    """Measures each component of a numbered array on `grid`, in the order of their numbers."""
    from scipy.ndimage import find_objects

    lesions = []
    for number, box in enumerate(find_objects(components.astype(np.int32)), start=1):
        offset = np.array([axis.start for axis in box])
        indices = np.argwhere(components[box] == number) + offset
        lesions.append(_measure(number, to_world(grid.affine, indices), grid))
    return lesions


def measure_components(components: Components, grid: Grid) -> list[Lesion]:
    """Measures each component on `grid`, in the order of their numbers."""
    numbers = range(1, components.count + 1)
    return [_measure(number, to_world(grid.affine, components.indices(number)), grid) for number in numbers]


def _foreground_box(mask: NDArray[np.generic]) -> Box:
    """The smallest box around all foreground; empty at the origin when there is none."""
    edges: list[slice] = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask[tuple(edges)].any(axis=others))
        edges.append(slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 0))
    return edges[0], edges[1], edges[2]


def _shifted(part: Box, box: Box) -> Box:
    x, y, z = (slice(own.start + by.start, own.stop + by.start) for own, by in zip(part, box, strict=True))
    return x, y, z


def _measure(number: int, positions_mm: NDArray[np.float64], grid: Grid) -> Lesion:
    x, y, z = positions_mm.mean(axis=0)
    return Lesion(
        number=number,
        volume_mm3=len(positions_mm) * grid.voxel_volume_mm3,
        longest_diameter_mm=_longest_distance(positions_mm) + float(np.mean(grid.spacing_mm)),
        centre_mm=(float(x), float(y), float(z)),
    )


def _longest_distance(positions_mm: NDArray[np.float64]) -> float:
    """Largest pairwise distance in mm; only corners of the convex hull can hold it."""
    from scipy.spatial import ConvexHull, QhullError
    from scipy.spatial.distance import pdist

    points = positions_mm
    if len(points) > 50:
        with suppress(QhullError):  # flat lesions have no hull in 3-D
            points = points[ConvexHull(points).vertices]
    return float(pdist(points).max()) if len(points) > 1 else 0.0
