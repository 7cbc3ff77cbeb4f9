"""A recipe's steps on a scan: orientation, spacing and window; and the way back to the scan's own grid.

Because only axes are swapped, flipped and rescaled, resampling is separable: one linear interpolation per axis. The
numbers are those of MONAI's `Orientation`, `Spacing` (bilinear, border) and `ScaleIntensityRange`, which the exported
bundle uses; `tests/preprocessing/test_resampling.py` holds both to each other.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.geometry import Grid, axis_directions
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.voxel_transforms import apply_transforms

_LETTER_AXIS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class Preparation:
    """How the voxels of one scan relate to the recipe's grid.

    Args:
        scan: The scan's own grid.
        grid: The grid after orientation and spacing.
        order: `order[i]` is the scan's axis that becomes axis i.
        flips: Whether axis i of the recipe's grid runs against the scan's axis.
    """

    scan: Grid
    grid: Grid
    order: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Scan voxels per recipe voxel along each recipe axis."""
        spacing = self.scan.spacing_mm
        x, y, z = (self.grid.spacing_mm[i] / spacing[self.order[i]] for i in range(3))
        return x, y, z


def plan_preparation(scan: Grid, recipe: Recipe) -> Preparation:
    """Works out the recipe's grid for a scan; the first voxel centres of both grids coincide."""
    directions = axis_directions(scan.affine)
    wanted = [_LETTER_AXIS[letter] for letter in recipe.orientation]
    order = [next(i for i, (world, _) in enumerate(directions) if world == axis) for axis, _ in wanted]
    flips = [directions[source][1] != sign for source, (_, sign) in zip(order, wanted, strict=True)]
    affine = scan.affine.copy()
    shape = []
    for target, (source, flip) in enumerate(zip(order, flips, strict=True)):
        column = scan.affine[:3, source]
        length, count = float(np.linalg.norm(column)), scan.shape[source]
        if flip:
            affine[:3, 3] += column * (count - 1)
            column = -column
        affine[:3, target] = column / length * recipe.spacing_mm[target]
        shape.append(int(np.round((count - 1) * length / recipe.spacing_mm[target])) + 1)
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    return Preparation(scan, grid, (order[0], order[1], order[2]), (flips[0], flips[1], flips[2]))


def resample_to_recipe(array: NDArray[np.generic], preparation: Preparation) -> torch.Tensor:
    """Brings an array (x, y, z) from the scan's grid to the recipe's, linearly; values outside repeat the border.

    Returns:
        float32 tensor of `preparation.grid.shape`.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(orient(array, preparation))).float()
    positions = [
        torch.arange(count, dtype=torch.float64) * ratio
        for count, ratio in zip(preparation.grid.shape, preparation.ratios, strict=True)
    ]
    return interpolate(tensor, positions)


def resample_to_scan(volume: torch.Tensor, preparation: Preparation) -> torch.Tensor:
    """Brings a volume (x, y, z) from the recipe's grid back to the scan's, linearly.

    Returns:
        float32 tensor of `preparation.scan.shape` in the scan's own axis order.
    """
    counts = [preparation.scan.shape[axis] for axis in preparation.order]
    positions = [
        torch.arange(count, dtype=torch.float64) / ratio
        for count, ratio in zip(counts, preparation.ratios, strict=True)
    ]
    oriented = interpolate(volume.float(), positions)
    flipped = [axis for axis in range(3) if preparation.flips[axis]]
    inverse = [preparation.order.index(axis) for axis in range(3)]
    return oriented.flip(flipped).permute(inverse).contiguous()


def orient(array: NDArray[np.generic], preparation: Preparation) -> NDArray[np.generic]:
    """A view of an array on the scan's grid with the axes of the recipe's orientation; nothing is copied."""
    oriented = array.transpose(preparation.order)
    return oriented[tuple(slice(None, None, -1 if flip else 1) for flip in preparation.flips)]


def apply_window(image_hu: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Clips HU to the recipe's window and scales it to 0…1, float32."""
    low, high = recipe.window_hu
    return ((image_hu.float() - low) / (high - low)).clamp_(0.0, 1.0)


def normalise(image_hu: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """HU to the values that the network sees, float32: the recipe's window, then its transforms.

    Every voxel is changed by itself, so a part of a scan gets the values that it has in the whole.
    """
    return apply_transforms(apply_window(image_hu, recipe), recipe.transforms or ())


def interpolate(volume: torch.Tensor, positions: list[torch.Tensor]) -> torch.Tensor:
    """Linear interpolation of (x, y, z) at a rectilinear grid of fractional indices, one tensor per axis.

    Axes that shrink go first, so that the later ones have less to do.
    """
    growth = [len(positions[axis]) / volume.shape[axis] for axis in range(3)]
    for axis in sorted(range(3), key=lambda axis: growth[axis]):
        volume = _interpolate_axis(volume, axis, positions[axis])
    return volume


def _interpolate_axis(volume: torch.Tensor, axis: int, positions: torch.Tensor) -> torch.Tensor:
    count = volume.shape[axis]
    clamped = positions.clamp(0, count - 1)
    lower = clamped.floor().long()
    weight = (clamped - lower).float()
    if not weight.any():
        unmoved = len(lower) == count and bool((lower == torch.arange(count)).all())
        return volume if unmoved else volume.index_select(axis, lower)
    shape = [-1 if i == axis else 1 for i in range(3)]
    upper = (lower + 1).clamp_max(count - 1)
    start = volume.index_select(axis, lower)
    return start.lerp_(volume.index_select(axis, upper), weight.reshape(shape))
