"""Finds the lungs classically, by air inside the body: no weights to fetch, and a box and mask with margin.

The scan is looked at on a coarse grid. Air that touches the edge of an axial slice lies outside the body; of the air
inside, the largest components are the lungs. In each axial slice the convex hull of both is taken, so that a tumour at
the wall, between the lungs or in a collapsed lobe belongs to the region, and a margin is added.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case, Volume
from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.lesions import superior_axis

AIR_HU = -400
COARSE_MM = 3.5
MARGIN_MM = 15.0
SMALLEST_LUNGS_MM3 = 4e5
"""Both lungs of a child of a few years; less air than that inside the body is bowel."""
DENSEST_GAS_HU = -960
"""Bowel gas is air; lungs hold blood and tissue even in emphysema."""
_COMPANION = 0.1
_ON_EDGE = 1e-6
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class LungRegion:
    """Where the lungs are.

    Args:
        mask: 1 inside the hull of the lungs and its margin, on a coarse grid in the scan's space.
        box: The voxels of the scan that hold the mask.
        kept_fraction: Share of the scan's volume inside the box.
    """

    mask: Volume
    box: Box
    kept_fraction: float


def find_lungs(case: Case) -> LungRegion | None:
    """Finds the region of the lungs; None where there are none, e.g. in a crop or an abdomen."""
    air = find_lung_air(case)
    if air is None:
        return None
    vertical = superior_axis(air.grid)
    lungs = np.moveaxis(air.array.astype(np.bool_), vertical, 2)
    region = np.moveaxis(_hull_of_slices(lungs), 2, vertical)
    region = ndimage.distance_transform_edt(~region, sampling=air.grid.spacing_mm) <= MARGIN_MM
    box = _box_in_scan(region, air.grid, case.grid)
    kept = np.prod([axis.stop - axis.start for axis in box]) / case.image.size
    return LungRegion(Volume(region.astype(np.uint8), air.grid), box, float(kept))


def find_lung_air(case: Case, *, coarse_mm: float = COARSE_MM) -> Volume | None:
    """Finds the air of the lungs, True on a coarse grid in the scan's space; None where there are no lungs.

    Args:
        case: The scan.
        coarse_mm: The coarse grid takes every voxel that lies at least so far from the one before.
    """
    steps = [max(1, int(coarse_mm / spacing)) for spacing in case.grid.spacing_mm]
    coarse = case.image[:: steps[0], :: steps[1], :: steps[2]]
    grid = _coarse_grid(case.grid, steps, coarse.shape)
    vertical = superior_axis(grid)
    lungs = _lungs(np.moveaxis(coarse, vertical, 2), grid.voxel_volume_mm3)
    return None if lungs is None else Volume(np.moveaxis(lungs, 2, vertical), grid)


def lung_mask(case: Case) -> Volume | None:
    """The mask of `find_lungs`, in the form in which a sliding window asks where to look."""
    region = find_lungs(case)
    return region.mask if region else None


def crop_to_lungs(case: Case) -> tuple[Case, float | None]:
    """Cuts a case to the lungs' box.

    Returns:
        The case and the share of the volume that was kept; the whole case and None where no lungs are found.
    """
    region = find_lungs(case)
    if region is None:
        return case, None
    affine = case.grid.affine.copy()
    affine[:3, 3] = to_world(case.grid.affine, [axis.start for axis in region.box])
    image = case.image[region.box]
    x, y, z = image.shape
    mask = case.mask[region.box] if case.mask is not None else None
    return Case(case.id, image, Grid((x, y, z), affine), mask), region.kept_fraction


def _coarse_grid(scan: Grid, steps: list[int], shape: tuple[int, ...]) -> Grid:
    affine = scan.affine.copy()
    affine[:3, :3] = affine[:3, :3] * np.array(steps)
    x, y, z = shape
    return Grid((x, y, z), affine)


def _lungs(coarse_hu: NDArray[np.generic], voxel_mm3: float) -> NDArray[np.bool_] | None:
    """The air of the lungs in an array whose last axis runs along the body."""
    inside = _inside_body(np.less(coarse_hu, AIR_HU))
    numbers, count = ndimage.label(inside)
    if not count:
        return None
    volumes = np.bincount(numbers.ravel())[1:] * voxel_mm3
    means = ndimage.mean(coarse_hu, numbers, np.arange(1, count + 1))
    tissue = np.flatnonzero((volumes >= _COMPANION * volumes.max()) & (means > DENSEST_GAS_HU))
    if not len(tissue) or volumes[tissue].sum() < SMALLEST_LUNGS_MM3:
        return None
    return np.isin(numbers, tissue + 1)


def _inside_body(air: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Air that is not connected, within its axial slice, to the slice's edge."""
    inside = np.zeros_like(air)
    for z in range(air.shape[2]):
        numbers, _ = ndimage.label(air[:, :, z])
        edge = np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]])
        inside[:, :, z] = air[:, :, z] & ~np.isin(numbers, np.unique(edge))
    return inside


def _hull_of_slices(lungs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of each axial slice that lie on the inner side of every edge of the slice's convex hull."""
    from scipy.spatial import ConvexHull, QhullError

    hulls = lungs.copy()
    rows, columns = np.ogrid[: lungs.shape[0], : lungs.shape[1]]
    for z in range(lungs.shape[2]):
        try:
            edges = ConvexHull(_outline(lungs[:, :, z])).equations
        except (QhullError, ValueError):
            continue  # fewer than three points, or all in a line
        hulls[:, :, z] = np.all([a * rows + b * columns + c <= _ON_EDGE for a, b, c in edges], axis=0)
    return hulls


def _outline(plane: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The first and last pixel of each row: the hull has no other corners."""
    rows = np.flatnonzero(plane.any(axis=1))
    first = plane[rows].argmax(axis=1)
    last = plane.shape[1] - 1 - plane[rows, ::-1].argmax(axis=1)
    return np.concatenate([np.stack([rows, first], 1), np.stack([rows, last], 1)])


def _box_in_scan(region: NDArray[np.bool_], coarse: Grid, scan: Grid) -> Box:
    indices = np.argwhere(region)
    ends = np.stack([indices.min(axis=0), indices.max(axis=0)])
    voxels = to_voxel(scan.affine, to_world(coarse.affine, ends))
    low = np.clip(np.floor(voxels.min(axis=0)).astype(int), 0, None)
    high = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 1, scan.shape)
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    return x, y, z
