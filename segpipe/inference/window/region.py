"""Where lesions can be: windows that hold nothing of that region need no forward pass; what lies beside it is none."""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.case import Case, Volume
from segpipe.errors import ImageError
from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.inference.window.grid import InferenceGrid, crop_frame
from segpipe.inference.window.sliding import Wanted
from segpipe.lesions import Box, superior_axis
from segpipe.preprocessing.lungs import find_lungs, lung_mask
from segpipe.preprocessing.recipe import Shape

FindRegion = Callable[[Case], Volume | None]
log = logging.getLogger(__name__)
TRUNK_MM = (200.0, 100.0)
"""A scan at least so wide to both sides and so long shows lungs, if it is one of a chest."""


def require_lungs(case: Case) -> Volume | None:
    """The region of the lungs, or None for a crop.

    Raises:
        ImageError: for a scan large enough to show lungs that shows none, e.g. of the abdomen.
    """
    region = lung_mask(case)
    if region is None and _could_show_lungs(case.grid):
        raise ImageError(
            "no lungs are found in the scan",
            facts={"scan": case.grid},
            hint="give a chest CT in HU; --search everywhere predicts it all the same",
        )
    return region


def crop_to_lungs(inference_grid: InferenceGrid, case: Case) -> InferenceGrid:
    """The part of a frame around the lungs, for recipes that crop to them; the whole frame where none are found."""
    lungs = find_lungs(case)
    if lungs is None:
        log.warning("%s: no lungs found, the whole scan is used", case.id)
        return inference_grid
    return crop_frame(inference_grid, lungs.box)


def windows_in(region: Volume, inference_grid: InferenceGrid) -> Wanted:
    """Returns a test that is true for the windows of a frame which hold a part of the region.

    A voxel of the region counts with its whole extent. Whatever lies in the region is only ever covered by windows
    that hold a part of it, so leaving the others out changes nothing there.

    Args:
        region: Non-zero where lesions can be, on any grid in the scan's space; a coarse one is enough.
        inference_grid: The frame that the windows slide over.
    """
    recipe_grid = inference_grid.preparation.grid.affine
    centres = to_voxel(recipe_grid, to_world(region.grid.affine, np.argwhere(region.array))) - np.array(
        inference_grid.start
    )
    reach = np.abs(np.linalg.solve(recipe_grid[:3, :3], region.grid.affine[:3, :3])).sum(axis=1) / 2
    low, high = centres - reach, centres + reach

    def wanted(corner: Shape) -> bool:
        first = np.array(corner)
        last = first + np.array(inference_grid.window) - 1
        return bool(((high >= first) & (low <= last)).all(axis=1).any())

    return wanted


def in_reach(region: Volume, mask: NDArray[np.generic], grid: Grid, box: Box) -> NDArray[np.bool_]:
    """The voxels of a scan's box that are in a region, or in a lesion that is so in part.

    A window reaches further than the region that it is wanted for, and what lies there was seen by chance.

    Args:
        region: As for `windows_in`.
        mask: Lesions, non-zero, on the scan's grid.
        grid: The scan's grid.
        box: Voxels of it.
    """
    start = grid.affine @ [*(axis.start for axis in box), 1]
    offset = to_voxel(region.grid.affine, start[:3]) + 1
    matrix = np.linalg.solve(region.grid.affine[:3, :3], grid.affine[:3, :3])
    bordered = np.pad(region.array != 0, 1, mode="edge")  # the last coarse voxel may begin before the scan ends
    shape = tuple(axis.stop - axis.start for axis in box)
    within: NDArray[np.bool_] = ndimage.affine_transform(
        bordered.view(np.uint8), matrix, offset, shape, np.uint8, order=0
    ).view(np.bool_)
    lesions = mask[box] != 0
    # no components are numbered here, since numbers take four bytes a voxel
    within |= ndimage.binary_propagation(within & lesions, mask=lesions)
    return within


def _could_show_lungs(grid: Grid) -> bool:
    across = superior_axis(grid)
    sizes = [count * spacing for count, spacing in zip(grid.shape, grid.spacing_mm, strict=True)]
    width, length = TRUNK_MM
    return all(size >= (length if axis == across else width) for axis, size in enumerate(sizes))
