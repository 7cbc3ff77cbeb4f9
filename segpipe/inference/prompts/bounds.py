"""What a box or a line says of voxels that nobody has pointed at."""

import math

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import FloatArray, Grid, to_voxel, to_world
from segpipe.inference.prompts.prompt import Ends, Prompt
from segpipe.lesions import Box, find_components, superior_axis

LEVELS = tuple(np.arange(-4.0, 4.5, 0.5).tolist())
"""Log odds that may be added to all of a box."""
_PRICE = 0.2
"""What adding 1 must gain in overlap: the network is believed unless the box says otherwise (`corrections.py`)."""


def allowed_voxels(prompt: Prompt, grid: Grid) -> NDArray[np.bool_]:
    """Voxels (x, y, z) that can belong to the lesion; a margin of half a voxel is allowed.

    Nothing lies outside a box. In the slice of a line, the longest diameter there, nothing is farther from one of its
    ends than the other end is.
    """
    allowed = np.ones(grid.shape, dtype=np.bool_)
    if prompt.box:
        half = np.abs(grid.affine[:3, :3]).sum(axis=1) / 2
        low, high = np.min(prompt.box, axis=0) - half, np.max(prompt.box, axis=0) + half
        places = _places(grid)
        allowed = ((places >= low) & (places <= high)).all(axis=-1)
    if prompt.line:
        here = _slice_of(prompt.line, grid)
        allowed[here] = _between_ends(_places(grid)[here], prompt.line, margin_mm=max(grid.spacing_mm) / 2)
    return allowed


def level_in_box(evidence: NDArray[np.float32], allowed: NDArray[np.bool_], limit: float) -> float:
    """What must be added to the log odds within a box so that the lesion reaches its sides as well as it can.

    Args:
        evidence: Log odds of each voxel, (x, y, z).
        allowed: Voxels in the box.
        limit: Log odds from which a voxel is foreground.

    Source:
        That a box is tight on all sides: Lempitsky et al., ICCV 2009.
    """
    sides = find_components(allowed).box

    def fit(level: float) -> float:
        lesions = find_components((evidence + level >= limit) & allowed)
        return (_overlap(lesions.parts[0], sides) if lesions.count else 0.0) - _PRICE * abs(level)

    return float(max(LEVELS, key=fit))


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes of which the second holds the first."""
    inner, outer = (math.prod(int(side.stop - side.start) for side in box) for box in (one, other))
    return inner / outer


def _slice_of(line: Ends, grid: Grid) -> tuple[slice, slice, slice]:
    """The axial slice in which a line lies."""
    axis = superior_axis(grid)
    number = int(np.rint(to_voxel(grid.affine, np.mean(line, axis=0))[axis]))
    x, y, z = (slice(number, number + 1) if other == axis else slice(None) for other in range(3))
    return x, y, z


def _between_ends(places: FloatArray, line: Ends, *, margin_mm: float) -> NDArray[np.bool_]:
    longest = float(np.linalg.norm(np.subtract(*line))) + margin_mm
    first, second = (np.linalg.norm(places - np.asarray(end), axis=-1) for end in line)
    return np.asarray((first <= longest) & (second <= longest))


def _places(grid: Grid) -> FloatArray:
    """Position of each voxel, (x, y, z, 3), RAS+ mm."""
    return to_world(grid.affine, np.moveaxis(np.indices(grid.shape), 0, -1))
