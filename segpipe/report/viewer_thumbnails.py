"""A small picture of each finding: its axial slice in the lung window with the mask's edge."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid, axis_directions, to_voxel
from segpipe.report.overlays import LUNG_WINDOW_HU, upright

SIDE_MM = 60.0
SIDE_PIXELS = 180
_EDGE_RGB = (255, 150, 0)
Point = tuple[float, float, float]


def thumbnail(case: Case, mask: NDArray[np.uint8], centre_mm: Point) -> str:
    """A PNG as data URL: 60 mm around a point; right of the patient is left of the picture.

    Args:
        case: The scan.
        mask: On the scan's grid.
        centre_mm: RAS+ mm, within the scan.
    """
    image, spacing_mm = upright(case.image, case.grid)
    shown, _ = upright(mask, case.grid)
    place = upright_voxel(case.grid, centre_mm)
    samples = [_samples(place[axis], spacing_mm[axis]) for axis in (0, 1)]
    low, high = LUNG_WINDOW_HU
    grey = (_plane(image[:, :, round(place[2])], samples, order=1, outside=low) - low) / (high - low)
    inside = _plane(shown[:, :, round(place[2])] > 0, samples, order=1, outside=0) >= 0.5
    picture = np.repeat((np.clip(grey, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)
    picture[_edge(inside)] = _EDGE_RGB
    return _data_url(picture)


def upright_voxel(grid: Grid, point_mm: Point) -> Point:
    """Where a point (RAS+ mm) lies in the array that `upright` gives, as fractional indices."""
    voxel = to_voxel(grid.affine, point_mm)
    place = [0.0, 0.0, 0.0]
    for axis, (world, sign) in enumerate(axis_directions(grid.affine)):
        place[world] = float(grid.shape[axis] - 1 - voxel[axis] if sign > 0 else voxel[axis])
    return place[0], place[1], place[2]


def _samples(centre: float, spacing_mm: float) -> NDArray[np.float64]:
    return centre + (np.arange(SIDE_PIXELS) - (SIDE_PIXELS - 1) / 2) * SIDE_MM / SIDE_PIXELS / spacing_mm


def _plane(plane: NDArray[Any], samples: list[NDArray[np.float64]], *, order: int, outside: float) -> NDArray[Any]:
    from scipy.ndimage import map_coordinates

    columns, rows = np.meshgrid(samples[0], samples[1])
    values = plane.astype(np.float32)
    return np.asarray(map_coordinates(values, [columns, rows], order=order, mode="constant", cval=outside))


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(inside) & ~inside)


def _data_url(picture: NDArray[np.uint8]) -> str:
    from matplotlib.image import imsave

    stream = io.BytesIO()
    imsave(stream, picture, format="png")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
