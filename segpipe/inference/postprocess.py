"""What happens to a mask after the threshold: components that are no findings leave."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_world
from segpipe.inference.operating_point import OperatingPoint
from segpipe.lesions import Components, Voxels


def choose_components(
    components: Components,
    means: Sequence[float],
    grid: Grid,
    *,
    point: OperatingPoint,
    at_mm: tuple[float, float, float] | None = None,
) -> list[int]:
    """Numbers of the components that are findings.

    Args:
        components: The components of the thresholded mask.
        means: Mean probability of each.
        grid: The scan's own grid.
        point: The smallest volume and the lowest mean probability of a finding.
        at_mm: Only the component that holds this point (RAS+ mm) stays, or else the one with the nearest voxel.
    """
    voxels = point.min_volume_mm3 / grid.voxel_volume_mm3 - 1e-6
    kept = [
        number
        for number, (count, mean) in enumerate(zip(components.voxel_counts, means, strict=True), start=1)
        if count >= voxels and mean >= point.min_probability
    ]
    if at_mm is not None and len(kept) > 1:
        return [min(kept, key=lambda number: _distance_mm(components.voxels(number), grid, at_mm))]
    return kept


def erase_others(mask: NDArray[np.uint8], components: Components, kept: Sequence[int]) -> None:
    """Removes all components but those `kept` from a mask, in place."""
    if len(kept) < components.count:
        flags = np.zeros(components.count + 1, dtype=np.uint8)
        flags[list(kept)] = 1
        mask[components.box] = flags[components.numbers]


def _distance_mm(voxels: Voxels, grid: Grid, point_mm: tuple[float, float, float]) -> float:
    """Distance from a point to the nearest voxel centre, slice by slice."""
    nearest = np.inf
    for number, plane in enumerate(voxels.inside):
        found = np.insert(np.argwhere(plane), 0, number, axis=1) + voxels.start
        if len(found):
            apart = to_world(grid.affine, found) - np.asarray(point_mm)
            nearest = min(nearest, float(np.linalg.norm(apart, axis=1).min()))
    return nearest
