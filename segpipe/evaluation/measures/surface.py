"""How far the surfaces of two masks are apart: surface Dice at a named tolerance and the 95 % Hausdorff distance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.measures.foreground_crops import ForegroundCrop
from segpipe.evaluation.measures.surface_elements import CORNERS, surfel_areas
from segpipe.geometry import FloatArray, Grid, to_world

NSD_TOLERANCE_MM = 1.0
SURFACE_FIGURES = ("nsd", "hd95_mm")
_ROUNDING_MM = 1e-6


@dataclass(frozen=True, eq=False)
class SurfacePoints:
    """Surface points of one mask.

    Args:
        indices: Voxel indices in the scan, (n, 3); surfels lie between voxels.
        shared: Whether the other mask has a point at the same place.
        areas: Area of each point in mm², or 1 for voxels.
    """

    indices: NDArray[np.int64]
    shared: NDArray[np.bool_]
    areas: FloatArray


def surface_figures(crops: Sequence[ForegroundCrop], scan: Grid) -> dict[str, float | None]:
    """NSD at 1 mm and HD95 in mm.

    Without reference both are undefined (None); without prediction the NSD is 0 and the distance undefined.
    """
    if not any(crop.reference.any() for crop in crops):
        return dict.fromkeys(SURFACE_FIGURES)
    if not any(crop.prediction.any() for crop in crops):
        return dict(zip(SURFACE_FIGURES, (0.0, None), strict=True))
    nsd = surface_dice(crops, scan, tolerance_mm=NSD_TOLERANCE_MM)
    return dict(zip(SURFACE_FIGURES, (nsd, hausdorff_mm(crops, scan, percent=95.0)), strict=True))


def surface_dice(crops: Sequence[ForegroundCrop], scan: Grid, *, tolerance_mm: float) -> float:
    """The part of both surfaces, by area, that lies within `tolerance_mm` of the other one.

    Source:
        Nikolov et al., arXiv 1809.04430; the same numbers as the package surface-distance.
    """
    areas = surfel_areas(scan.spacing_mm)
    surfaces = [_surfels(crop, areas) for crop in crops]
    predicted, reference = (_join([surface[side] for surface in surfaces]) for side in (0, 1))
    near = far = 0.0
    for points, others in ((predicted, reference), (reference, predicted)):
        close = _distances_mm(points, others, scan, limit_mm=tolerance_mm + _ROUNDING_MM) <= tolerance_mm + _ROUNDING_MM
        near += float(points.areas[close].sum())
        far += float(points.areas[~close].sum())
    return near / (near + far)


def hausdorff_mm(crops: Sequence[ForegroundCrop], scan: Grid, *, percent: float) -> float:
    """The larger of the two directed percentiles of distances between border voxels; 100 gives the Hausdorff distance.

    A border voxel has a face to the background or to the edge of the scan. The same numbers as MONAI's.
    """
    borders = [_border(crop) for crop in crops]
    predicted, reference = (_join([border[side] for border in borders]) for side in (0, 1))
    directed = [
        np.percentile(_distances_mm(points, others, scan), percent)
        for points, others in ((predicted, reference), (reference, predicted))
    ]
    return float(max(directed))


def _surfels(crop: ForegroundCrop, areas: FloatArray) -> tuple[SurfacePoints, SurfacePoints]:
    codes = [_codes(mask) for mask in (crop.prediction, crop.reference)]
    surfaces = [(code != 0) & (code != 255) for code in codes]
    shared = surfaces[0] & surfaces[1]
    first = _points(crop, surfaces[0], shared, areas[codes[0][surfaces[0]]])
    return first, _points(crop, surfaces[1], shared, areas[codes[1][surfaces[1]]])


def _border(crop: ForegroundCrop) -> tuple[SurfacePoints, SurfacePoints]:
    borders = [_border_voxels(mask) for mask in (crop.prediction, crop.reference)]
    shared = borders[0] & borders[1]
    first, second = (_points(crop, border, shared, np.ones(np.count_nonzero(border))) for border in borders)
    return first, second


def _codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Code of each 2×2×2 block, also of those that reach over the edge: one more than the mask along each axis."""
    x, y, z = (count + 1 for count in mask.shape)
    codes = np.zeros((x, y, z), dtype=np.uint8)
    for bit, (i, j, k) in enumerate(CORNERS):
        codes[1 - i : x - i, 1 - j : y - j, 1 - k : z - k] |= mask.view(np.uint8) << np.uint8(bit)
    return codes


def _border_voxels(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inner = mask.copy()
    for axis in range(3):
        ahead, behind = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        ahead[:-1] &= behind[1:]
        ahead[1:] &= behind[:-1]
        ahead[0] = ahead[-1] = False
    return mask & ~inner


def _points(
    crop: ForegroundCrop, where: NDArray[np.bool_], shared: NDArray[np.bool_], areas: FloatArray
) -> SurfacePoints:
    indices = np.argwhere(where) + [axis.start for axis in crop.box]
    return SurfacePoints(np.asarray(indices, dtype=np.int64), shared[where], areas)


def _join(parts: Sequence[SurfacePoints]) -> SurfacePoints:
    return SurfacePoints(
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.shared for part in parts]),
        np.concatenate([part.areas for part in parts]),
    )


def _distances_mm(points: SurfacePoints, others: SurfacePoints, scan: Grid, *, limit_mm: float = np.inf) -> FloatArray:
    """Distance of each point to the nearest of `others`; infinite beyond `limit_mm`."""
    from scipy.spatial import cKDTree

    distances = np.zeros(len(points.indices))
    apart = ~points.shared
    if apart.any():
        tree = cKDTree(to_world(scan.affine, others.indices), leafsize=32, balanced_tree=False, compact_nodes=False)
        positions = to_world(scan.affine, points.indices[apart])
        distances[apart] = tree.query(positions, distance_upper_bound=limit_mm)[0]
    return distances
