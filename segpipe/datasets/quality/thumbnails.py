"""A small picture of a case: the axial slice with most lesion in a lung window, the lesion's outline drawn."""

import io
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Volume
from segpipe.geometry import Grid, axis_directions

Voxel = TypeVar("Voxel", bound=np.generic)
WINDOW_HU = (-1350.0, 150.0)
PIXELS = 220
_COMPRESSION = 3  # a seventh of the time of the highest, for about the same size
OUTLINE = (255, 140, 0)


def draw_thumbnail(image: Volume, lesion: NDArray[np.bool_]) -> bytes:
    """PNG as a radiologist looks at it: the patient's right on the left, front at the top.

    Args:
        image: Scan in HU.
        lesion: On the scan's grid; where it is empty the middle slice is drawn.
    """
    from PIL import Image

    hu, spacing = ras_view(image.array, image.grid)
    inside, _ = ras_view(lesion, image.grid)
    counts = inside.sum(axis=(0, 1))
    z = int(np.argmax(counts)) if counts.any() else hu.shape[2] // 2
    low, high = WINDOW_HU
    grey = np.clip((np.nan_to_num(hu[..., z].astype(np.float32), nan=low) - low) / (high - low), 0, 1) * 255
    width, height = hu.shape[0] * spacing[0], hu.shape[1] * spacing[1]
    scale = PIXELS / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    picture = Image.fromarray(_as_seen(grey.astype(np.uint8))).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    shape = Image.fromarray(_as_seen(inside[..., z].astype(np.uint8) * 255)).resize(size, Image.Resampling.NEAREST)
    pixels = np.array(picture)
    pixels[_outline(np.array(shape) > 0)] = OUTLINE
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=_COMPRESSION)
    return stream.getvalue()


def ras_view(array: NDArray[Voxel], grid: Grid) -> tuple[NDArray[Voxel], tuple[float, float, float]]:
    """A view of an array with axes swapped and flipped to the nearest RAS, and the spacing along them in mm."""
    directions = axis_directions(grid.affine)
    order = [next(axis for axis, (world, _) in enumerate(directions) if world == wanted) for wanted in range(3)]
    flips = tuple(slice(None, None, directions[axis][1]) for axis in order)
    x, y, z = (grid.spacing_mm[axis] for axis in order)
    return array.transpose(order)[flips], (x, y, z)


def _as_seen(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(x, y) of a RAS array as rows and columns of a picture."""
    return np.ascontiguousarray(plane.T[::-1, ::-1])


def _outline(shape: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(shape, 1)
    inner = padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    return np.asarray(shape & ~inner, dtype=np.bool_)
