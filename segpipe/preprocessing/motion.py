"""Moving patches: flips, quarter turns and any affine or elastic motion, resampled once while the patch is read."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segpipe.preprocessing.cached_case import CachedCase
from segpipe.preprocessing.recipe import Shape
from segpipe.preprocessing.steps import interpolate

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Motion:
    """How a patch is taken from a scan.

    Args:
        flips: Array axes of the patch that are reversed.
        turns: Quarter turns in the plane of the first two axes.
        matrix: 3×3, offset from the patch's centre in the patch → in the scan, both in voxels; None moves nothing.
        bend: Extra offsets in the scan's voxels on a coarse grid (3, nx, ny, nz) over the patch; None bends nothing.
    """

    flips: tuple[int, ...] = ()
    turns: int = 0
    matrix: Matrix | None = None
    bend: NDArray[np.float32] | None = None

    def source_shape(self, patch: Shape) -> Shape:
        """Shape of the box in the scan that becomes `patch` after the quarter turns."""
        return (patch[1], patch[0], patch[2]) if self.turns % 2 else patch


def read_patch(
    case: CachedCase, start: tuple[int, int, int], patch: Shape, motion: Motion
) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads the patch whose unmoved box begins at voxel `start`; what lies outside the scan repeats its border.

    Returns:
        HU float32 and mask uint8, each of shape `patch`.
    """
    shape = motion.source_shape(patch)
    if motion.matrix is None and motion.bend is None:
        image, mask = case.read(start, shape)
        return _place(torch.from_numpy(image), motion).float(), _place(torch.from_numpy(mask), motion)
    matrix = np.eye(3) if motion.matrix is None else motion.matrix
    centre = np.array(start) + (np.array(shape) - 1) / 2
    low, size = _reach(matrix, motion.bend, centre, shape)
    image, mask = case.read(low, size)
    move = _move_in_plane if motion.bend is None and _is_planar(matrix) else _move_freely
    offset = centre - low
    moved = move(torch.from_numpy(image).float(), shape, matrix, offset, motion.bend)
    if not mask.any():
        return _place(moved, motion), torch.zeros(patch, dtype=torch.uint8)
    share = move(torch.from_numpy(mask).float(), shape, matrix, offset, motion.bend)
    return _place(moved, motion), _place((share >= 0.5).to(torch.uint8), motion)


def _place(box: torch.Tensor, motion: Motion) -> torch.Tensor:
    """Applies quarter turns and flips, which move voxels and mix none."""
    turned = torch.rot90(box, motion.turns, (0, 1)) if motion.turns % 4 else box
    return turned.flip(motion.flips).contiguous() if motion.flips else turned.contiguous()


def _reach(
    matrix: Matrix, bend: NDArray[np.float32] | None, centre: NDArray[np.float64], shape: Shape
) -> tuple[tuple[int, int, int], Shape]:
    """The box of the scan that the moved patch touches."""
    half = np.abs(matrix) @ ((np.array(shape) - 1) / 2)
    if bend is not None:
        half = half + np.abs(bend).max(axis=(1, 2, 3))
    low = np.floor(centre - half).astype(int)
    high = np.floor(centre + half).astype(int) + 2
    x, y, z = (int(value) for value in low)
    nx, ny, nz = (int(value) for value in high - low)
    return (x, y, z), (nx, ny, nz)


def _is_planar(matrix: Matrix) -> bool:
    return not (matrix[:2, 2].any() or matrix[2, :2].any())


def _move_in_plane(
    box: torch.Tensor, shape: Shape, matrix: Matrix, centre: NDArray[np.float64], bend: object
) -> torch.Tensor:
    """Resamples a motion that keeps slices parallel: one bilinear pass that all slices share, one along z.

    Ten times as fast as `_move_freely`, and equal to it, as trilinear interpolation is the product of the two.
    """
    heights = centre[2] + (np.arange(shape[2]) - (shape[2] - 1) / 2) * matrix[2, 2]
    slices = box.permute(2, 0, 1).contiguous()
    unmoved = [torch.arange(n, dtype=torch.float64) for n in box.shape[:2]]
    slices = interpolate(slices, [torch.from_numpy(heights), *unmoved])
    x, y = _coordinates(matrix[:2, :2], centre[:2], shape[:2])
    grid = _normalised((y, x), (box.shape[1], box.shape[0]))
    moved = F.grid_sample(slices[None], grid, mode="bilinear", padding_mode="border", align_corners=True)
    return moved[0].permute(1, 2, 0)


def _move_freely(
    box: torch.Tensor, shape: Shape, matrix: Matrix, centre: NDArray[np.float64], bend: NDArray[np.float32] | None
) -> torch.Tensor:
    x, y, z = _coordinates(matrix, centre, shape)
    if bend is not None:
        extra = F.interpolate(torch.from_numpy(bend)[None], size=shape, mode="trilinear", align_corners=True)[0]
        x, y, z = x + extra[0], y + extra[1], z + extra[2]
    grid = _normalised((z, y, x), (box.shape[2], box.shape[1], box.shape[0]))
    return F.grid_sample(box[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0, 0]


def _coordinates(matrix: Matrix, centre: NDArray[np.float64], shape: tuple[int, ...]) -> list[torch.Tensor]:
    """For each axis of the source the fractional index of every voxel of the target."""
    axes = len(shape)
    offsets = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    shaped = [offset.reshape([-1 if i == axis else 1 for i in range(axes)]) for axis, offset in enumerate(offsets)]
    rows = []
    for row in range(axes):
        terms = [shaped[column] * float(matrix[row, column]) for column in range(axes)]
        terms[0] = terms[0] + float(centre[row])
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        rows.append(total)
    return rows


def _normalised(coordinates: tuple[torch.Tensor, ...], sizes: tuple[int, ...]) -> torch.Tensor:
    """Indices to −1…1, stacked as `grid_sample` wants them: last axis of the source first."""
    scaled = [values * (2 / max(size - 1, 1)) - 1 for values, size in zip(coordinates, sizes, strict=True)]
    return torch.stack(scaled, dim=-1)[None]
