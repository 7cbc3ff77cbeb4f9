"""Lesions: the connected components of a mask and their measurements."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_world

CONNECTIVITY = 26


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


def label_lesions(mask: NDArray[np.generic]) -> tuple[NDArray[np.uint32], int]:
    """Numbers the 26-connected components of a mask's foreground, largest first.

    Returns:
        The numbered array (0 = background) and the count.
    """
    import cc3d

    components = np.asarray(cc3d.connected_components(mask > 0, connectivity=CONNECTIVITY), dtype=np.uint32)
    sizes = np.bincount(components.ravel())
    order = 1 + np.argsort(-sizes[1:], kind="stable")
    renumber = np.zeros(len(sizes), dtype=np.uint32)
    renumber[order] = np.arange(1, len(sizes), dtype=np.uint32)
    return renumber[components], len(sizes) - 1


def measure_lesions(components: NDArray[np.uint32], grid: Grid) -> list[Lesion]:
    """Measures each component of a numbered array on `grid`, in the order of their numbers."""
    from scipy.ndimage import find_objects

    lesions = []
    for number, box in enumerate(find_objects(components.astype(np.int32)), start=1):
        offset = np.array([axis.start for axis in box])
        indices = np.argwhere(components[box] == number) + offset
        lesions.append(_measure(number, to_world(grid.affine, indices), grid))
    return lesions


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
        try:
            points = points[ConvexHull(points).vertices]
        except QhullError:
            pass  # flat lesions have no hull in 3-D
    return float(pdist(points).max()) if len(points) > 1 else 0.0
