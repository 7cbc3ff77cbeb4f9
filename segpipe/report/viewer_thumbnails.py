"""A small picture of each finding: its axial slice in the lung window with the mask's edge."""

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid, axis_directions, to_voxel
from segpipe.report.overlays import LUNG_WINDOW_HU, upright

SIDE_MM = 60.0
MARGIN = 1.4
SIDE_PIXELS = 264
_EDGE_RGB = (255, 150, 0)
_WARM_RGB, _COLD_RGB = (255, 40, 40), (60, 110, 255)
_MOST_OPAQUE = 0.75
Point = tuple[float, float, float]


def thumbnail(
    case: Case,
    mask: NDArray[np.uint8],
    centre_mm: Point,
    *,
    slice_index: int,
    side_mm: float,
    heat: NDArray[np.float32] | None = None,
) -> str:
    """A PNG as data URL of one axial slice around a point; right of the patient is left of the picture.

    Args:
        case: The scan.
        mask: On the scan's grid.
        centre_mm: RAS+ mm, within the scan.
        slice_index: Of the slice, along the scan's own axis.
        side_mm: Edge of the picture.
        heat: A number for each voxel, laid over the slice: red above 0, blue below, clear at 0.
    """
    image, spacing_mm = upright(case.image, case.grid)
    shown, _ = upright(mask, case.grid)
    place = upright_voxel(case.grid, centre_mm)
    number = upright_slice(case.grid, slice_index)
    samples = [_samples(place[axis], spacing_mm[axis], side_mm) for axis in (0, 1)]
    low, high = LUNG_WINDOW_HU
    grey = (_plane(image[:, :, number], samples, order=1, outside=low) - low) / (high - low)
    inside = _plane(shown[:, :, number] > 0, samples, order=1, outside=0) >= 0.5
    picture = np.repeat((np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
    if heat is not None:
        warm, _ = upright(heat, case.grid)
        picture = _over(picture, _plane(warm[:, :, number], samples, order=1, outside=0))
    picture[_edge(inside)] = _EDGE_RGB
    return _data_url(picture)


def picture_side_mm(diameter_mm: float) -> float:
    """The edge of a picture: 60 mm, or more for a lesion that would fill it; whole centimetres.

    >>> picture_side_mm(8.0), picture_side_mm(95.1)
    (60.0, 140.0)
    """
    return max(SIDE_MM, 10.0 * math.ceil(MARGIN * diameter_mm / 10))


def upright_slice(grid: Grid, slice_index: int) -> int:
    """Where an axial slice of the scan lies in the array that `upright` gives."""
    axis, sign = next((axis, sign) for axis, (world, sign) in enumerate(axis_directions(grid.affine)) if world == 2)
    return grid.shape[axis] - 1 - slice_index if sign > 0 else slice_index


def upright_voxel(grid: Grid, point_mm: Point) -> Point:
    """Where a point (RAS+ mm) lies in the array that `upright` gives, as fractional indices."""
    voxel = to_voxel(grid.affine, point_mm)
    place = [0.0, 0.0, 0.0]
    for axis, (world, sign) in enumerate(axis_directions(grid.affine)):
        place[world] = float(grid.shape[axis] - 1 - voxel[axis] if sign > 0 else voxel[axis])
    return place[0], place[1], place[2]


def _samples(centre: float, spacing_mm: float, side_mm: float) -> NDArray[np.float64]:
    return centre + (np.arange(SIDE_PIXELS) - (SIDE_PIXELS - 1) / 2) * side_mm / SIDE_PIXELS / spacing_mm


def _plane(plane: NDArray[Any], samples: list[NDArray[np.float64]], *, order: int, outside: float) -> NDArray[Any]:
    from scipy.ndimage import map_coordinates

    columns, rows = np.meshgrid(samples[0], samples[1])
    values = plane.astype(np.float32)
    return np.asarray(map_coordinates(values, [columns, rows], order=order, mode="constant", cval=outside))


def _over(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture with the heat over it, the strongest of the slice at `_MOST_OPAQUE`."""
    strength = np.abs(heat) / max(float(np.abs(heat).max()), 1e-12) * _MOST_OPAQUE
    colour = np.where(heat[..., None] > 0, _WARM_RGB, _COLD_RGB)
    return np.asarray(picture * (1 - strength[..., None]) + colour * strength[..., None]).astype(np.uint8)


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(inside, iterations=2) & ~inside)


def _data_url(picture: NDArray[np.uint8]) -> str:
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, picture, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
