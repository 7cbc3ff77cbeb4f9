"""A lesion that the window cuts is seen again from its middle and through coarser voxels, until the window holds it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid, to_world
from segpipe.inference.window.grid import Point
from segpipe.lesions import Box
from segpipe.preprocessing.recipe import Recipe

LARGEST_MM = 60.0
"""The longest lesion that a window around a point should hold."""
LEAST_SECTION = 0.2
"""Part of its largest section that a window must cut of a lesion which is larger; of vessels it cuts less."""
LEAST_FILLING = 0.1
"""Part of the window that a lesion must fill for which its voxels are too fine; a small one has a vessel that runs on.

Both are measured by `benchmarks/large_nodules.py`: through coarser voxels networks take walls and vessels for a lesion.
"""
_STEP, _STEPS = 1.5, 3


def wider_views(recipe: Recipe) -> Iterator[Recipe]:
    """The recipe, and then with voxels ever 1.5 times as long, until a window is 60 mm long along each axis.

    A network that has learned lesions of up to the size of its window sees a larger one at such a size. Voxels become
    3.4 times as long at most: what a network has learned would be lost in coarser ones.

    >>> recipe = Recipe("fine", (0.7, 0.7, 1.25), (-1000.0, 400.0), (48, 48, 16), scope="voi")
    >>> [round(view.spacing_mm[2], 2) for view in wider_views(recipe)]
    [1.25, 1.88, 2.81, 4.22]
    """
    yield recipe
    for _ in range(_STEPS):
        if min(np.multiply(recipe.spacing_mm, recipe.patch)) >= LARGEST_MM:
            return
        x, y, z = (length * _STEP for length in recipe.spacing_mm)
        recipe = replace(recipe, spacing_mm=(x, y, z))
        yield recipe


def cut_section(mask: NDArray[np.uint8], seen: Box) -> float:
    """The largest section of a lesion at an end of the window, as a part of its largest parallel section.

    Ends of the scan do not count.

    Args:
        mask: The lesion, on the scan's own grid.
        seen: The window, which holds it.

    >>> mask = np.zeros((9, 9, 9), np.uint8)
    >>> mask[2:5, 2:4, 2:4], mask[5, 2, 2] = 1, 1
    >>> [cut_section(mask, (slice(1, end), slice(0, 9), slice(0, 9))) for end in (5, 6, 7)]
    [1.0, 0.25, 0.0]
    """
    parts = [0.0]
    for axis, edge in enumerate(seen):
        sections = np.count_nonzero(mask[seen], axis=tuple({0, 1, 2} - {axis}))
        ends = ([sections[0]] if edge.start > 0 else []) + ([sections[-1]] if edge.stop < mask.shape[axis] else [])
        parts += [float(end / sections.max()) for end in ends if end]
    return max(parts)


def filling(mask: NDArray[np.uint8], seen: Box) -> float:
    """The part of a window that a lesion fills."""
    return float(np.count_nonzero(mask[seen]) / mask[seen].size)


def middle_mm(part: Box, scan: Grid) -> Point:
    """The middle of a box of the scan's voxels, RAS+ mm.

    >>> from segpipe.geometry import Grid
    >>> middle_mm((slice(2, 5), slice(4, 5), slice(1, 3)), Grid((9, 9, 9), np.diag([2.0, 2.0, 2.0, 1.0])))
    (6.0, 8.0, 3.0)
    """
    x, y, z = to_world(scan.affine, [(edge.start + edge.stop - 1) / 2 for edge in part])
    return float(x), float(y), float(z)
