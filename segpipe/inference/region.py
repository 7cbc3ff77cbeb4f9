"""Where lesions can be: windows that hold nothing of that region need no forward pass."""

from collections.abc import Callable

import numpy as np

from segpipe.case import Case, Volume
from segpipe.geometry import to_voxel, to_world
from segpipe.inference.frame import Frame
from segpipe.inference.sliding import Wanted
from segpipe.preprocessing.recipe import Shape

FindRegion = Callable[[Case], Volume | None]


def windows_in(region: Volume, frame: Frame) -> Wanted:
    """Returns a test that is true for the windows of a frame which hold a part of the region.

    A voxel of the region counts with its whole extent. Whatever lies in the region is only ever covered by windows
    that hold a part of it, so leaving the others out changes nothing there.

    Args:
        region: Non-zero where lesions can be, on any grid in the scan's space; a coarse one is enough.
        frame: The frame that the windows slide over.
    """
    recipe_grid = frame.preparation.grid.affine
    centres = to_voxel(recipe_grid, to_world(region.grid.affine, np.argwhere(region.array))) - np.array(frame.start)
    reach = np.abs(np.linalg.solve(recipe_grid[:3, :3], region.grid.affine[:3, :3])).sum(axis=1) / 2
    low, high = centres - reach, centres + reach

    def wanted(corner: Shape) -> bool:
        first = np.array(corner)
        last = first + np.array(frame.window) - 1
        return bool(((high >= first) & (low <= last)).all(axis=1).any())

    return wanted
