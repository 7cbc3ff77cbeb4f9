"""What happens to a mask after the threshold: small components leave, or all but the one at a point."""

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_world
from segpipe.lesions import Components, find_components


def clean_mask(
    mask: NDArray[np.uint8],
    grid: Grid,
    *,
    min_volume_mm3: float = 0.0,
    point_mm: tuple[float, float, float] | None = None,
) -> tuple[Components, list[int]]:
    """Removes components from a mask, in place.

    Args:
        mask: Binary mask on `grid`; changed.
        grid: The scan's own grid.
        min_volume_mm3: Smaller components leave.
        point_mm: Only the component that holds this point (RAS+ mm) stays, or else the nearest one.

    Returns:
        All components that there were, and the numbers of those that stay.
    """
    components = find_components(mask)
    kept = large_components(components, grid, min_volume_mm3=min_volume_mm3)
    if point_mm is not None and kept:
        kept = [min(kept, key=lambda number: _distance_mm(components.indices(number), grid, point_mm))]
    if len(kept) < components.count:
        flags = np.zeros(components.count + 1, dtype=np.uint8)
        flags[kept] = 1
        mask[components.box] = flags[components.numbers]
    return components, kept


def large_components(components: Components, grid: Grid, *, min_volume_mm3: float) -> list[int]:
    """Numbers of the components of at least this volume."""
    voxels = min_volume_mm3 / grid.voxel_volume_mm3
    return [number for number, count in enumerate(components.voxel_counts, start=1) if count >= voxels - 1e-6]


def _distance_mm(indices: NDArray[np.int64], grid: Grid, point_mm: tuple[float, float, float]) -> float:
    return float(np.linalg.norm(to_world(grid.affine, indices) - np.asarray(point_mm), axis=1).min())
