"""Moving patches: flips, turns by 90° and any affine or elastic motion, resampled once while the patch is read."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from segpipe.preprocessing.label_shares import join_classes
from segpipe.preprocessing.recipe import Shape
from segpipe.preprocessing.resampling import interpolate

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]
Voxel = tuple[int, int, int]


class Source(Protocol):
    """Where patches are read, e.g. a prepared case of the cache."""

    def read(self, start: Voxel, shape: Shape) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """The image and the mask of a box; what lies outside repeats the border."""


@dataclass(frozen=True, eq=False)
class SpatialTransform:
    """How a patch is taken from a scan.

    Args:
        flips: Array axes of the patch that are reversed.
        rot90: Turns by 90° in the plane of the first two axes.
        matrix: 3×3, offset from the patch's centre in the patch → in the scan, both in voxels; None moves nothing.
        displacement: Extra offsets in the scan's voxels on a coarse grid (3, nx, ny, nz) over the patch, or None.
    """

    flips: tuple[int, ...] = ()
    rot90: int = 0
    matrix: Matrix | None = None
    displacement: NDArray[np.float32] | None = None

    @property
    def is_still(self) -> bool:
        """True when voxels only change places, so that nothing is resampled."""
        return self.matrix is None and self.displacement is None

    def source_shape(self, patch: Shape) -> Shape:
        """Shape of the box in the scan that becomes `patch` after the turns."""
        return (patch[1], patch[0], patch[2]) if self.rot90 % 2 else patch


@dataclass(frozen=True, eq=False)
class Reading:
    """The box of a scan that a patch is made from, `size` voxels from voxel `low`, and how it is made."""

    low: Voxel
    size: Shape
    motion: SpatialTransform
    warp: "_Warp | None"

    def image(self, box: torch.Tensor) -> torch.Tensor:
        """The patch of an image's box (x, y, z), float32, resampled linearly."""
        moved = box if self.warp is None else self.warp.apply(box.float())
        return _turned(moved, self.motion).float()

    def mask(self, box: torch.Tensor) -> torch.Tensor:
        """The patch of a mask's box (x, y, z), uint8."""
        moved = box if self.warp is None else _move_mask(self.warp, box.numpy())
        return _turned(moved, self.motion).to(torch.uint8)


def plan_reading(motion: SpatialTransform, start: Voxel, shape: Shape) -> Reading:
    """Finds what to read for the patch whose unmoved box has `shape` voxels from voxel `start`."""
    if motion.is_still:
        return Reading(start, shape, motion, None)
    warp = _plan_warp(motion, start, shape)
    return Reading(warp.low, warp.size, motion, warp)


def read_patch(case: Source, start: Voxel, patch: Shape, motion: SpatialTransform) -> tuple[torch.Tensor, torch.Tensor]:
    """Reads the patch whose unmoved box begins at voxel `start`; what lies outside the scan repeats its border.

    Returns:
        HU float32 and mask uint8, each of shape `patch`.
    """
    reading = plan_reading(motion, start, motion.source_shape(patch))
    image, mask = case.read(reading.low, reading.size)
    return reading.image(torch.from_numpy(image)), reading.mask(torch.from_numpy(mask))


def read_box(volume: torch.Tensor, start: Voxel, shape: Shape) -> torch.Tensor:
    """A box of a volume (x, y, z) in memory; what lies outside repeats its border."""
    for axis, (first, count) in enumerate(zip(start, shape, strict=True)):
        voxels = torch.arange(first, first + count).clamp_(0, volume.shape[axis] - 1)
        volume = volume.index_select(axis, voxels)
    return volume


@dataclass(frozen=True, eq=False)
class _Warp:
    """A resampling of the box of `size` voxels from `low` to `shape` voxels; `centre` counts from `low`."""

    low: tuple[int, int, int]
    size: Shape
    shape: Shape
    matrix: Matrix
    centre: Vector
    displacement: NDArray[np.float32] | None

    def apply(self, box: torch.Tensor) -> torch.Tensor:
        """Resamples a box (x, y, z), float32, linearly."""
        tilted = self.matrix[:2, 2].any() or self.matrix[2, :2].any()
        return self._apply_freely(box) if tilted or self.displacement is not None else self._apply_in_plane(box)

    def _apply_in_plane(self, box: torch.Tensor) -> torch.Tensor:
        """A motion that keeps slices parallel: one bilinear pass that all slices share, one linear pass along z.

        Ten times as fast as `_apply_freely` and equal to it: trilinear interpolation is the product of the two.
        """
        heights = self.centre[2] + _offsets(self.shape[2]).double() * float(self.matrix[2, 2])
        unmoved = [torch.arange(n, dtype=torch.float64) for n in self.size[:2]]
        slices = interpolate(box.permute(2, 0, 1).contiguous(), [heights, *unmoved])
        x, y = _coordinates(self.matrix[:2, :2], self.centre[:2], self.shape[:2])
        grid = _normalised((y, x), (self.size[1], self.size[0]))
        return _sample(slices[None], grid)[0].permute(1, 2, 0)

    def _apply_freely(self, box: torch.Tensor) -> torch.Tensor:
        coordinates = _coordinates(self.matrix, self.centre, self.shape)
        if self.displacement is not None:
            coordinates = [
                values + _spread_over(torch.from_numpy(offsets), self.shape)
                for values, offsets in zip(coordinates, self.displacement, strict=True)
            ]
        x, y, z = coordinates
        grid = _normalised((z, y, x), (self.size[2], self.size[1], self.size[0]))
        return _sample(box[None, None], grid)[0, 0]


def _plan_warp(motion: SpatialTransform, start: tuple[int, int, int], shape: Shape) -> _Warp:
    """Finds the box of the scan that the moved patch touches."""
    matrix = np.eye(3) if motion.matrix is None else motion.matrix
    centre = np.array(start) + (np.array(shape) - 1) / 2
    reach = np.abs(matrix) @ ((np.array(shape) - 1) / 2)
    if motion.displacement is not None:
        reach = reach + np.abs(motion.displacement).max(axis=(1, 2, 3))
    low = np.floor(centre - reach).astype(int)
    x, y, z = (int(value) for value in low)
    nx, ny, nz = (int(value) for value in np.floor(centre + reach).astype(int) + 2 - low)
    return _Warp((x, y, z), (nx, ny, nz), shape, matrix, centre - low, motion.displacement)


def _move_mask(warp: _Warp, mask: NDArray[np.uint8]) -> torch.Tensor:
    """Resamples only the part of the patch that the foreground can reach; most patches hold little of it."""
    label = torch.zeros(warp.shape, dtype=torch.uint8)
    first, last = (np.zeros(3, int), np.array(warp.shape)) if warp.displacement is not None else _reached(warp, mask)
    if (first >= last).any():
        return label
    part = replace(
        warp,
        shape=tuple((last - first).tolist()),
        centre=warp.centre + warp.matrix @ ((first + last - warp.shape) / 2),
    )
    reached = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
    if mask.max() <= 1:
        label[reached] = (part.apply(torch.from_numpy(mask).float()) >= 0.5).to(torch.uint8)
        return label
    values = np.flatnonzero(np.bincount(mask.ravel())).tolist()
    shares = [(value, part.apply(torch.from_numpy(mask == value).float()).numpy()) for value in values if value]
    label[reached] = torch.from_numpy(join_classes(shares, exclusive=True))
    return label


def _reached(warp: _Warp, mask: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First voxel and the one after the last of the patch's box that the foreground of a source box can reach."""
    if not mask.any():
        return np.zeros(3, np.int64), np.zeros(3, np.int64)
    used = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    ends = [(hits[0] - 1.0, hits[-1] + 1.0) for hits in used]
    corners = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    moved = (corners - warp.centre) @ np.linalg.inv(warp.matrix).T + (np.array(warp.shape) - 1) / 2
    first = np.clip(np.floor(moved.min(axis=0)), 0, warp.shape).astype(np.int64)
    last = np.clip(np.ceil(moved.max(axis=0)) + 1, 0, warp.shape).astype(np.int64)
    return first, last


def _turned(box: torch.Tensor, motion: SpatialTransform) -> torch.Tensor:
    """Applies turns by 90° and flips, which move voxels and mix none."""
    turned = torch.rot90(box, motion.rot90, (0, 1)) if motion.rot90 % 4 else box
    return (turned.flip(motion.flips) if motion.flips else turned).contiguous()


def _offsets(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32) - (count - 1) / 2


def _coordinates(matrix: Matrix, centre: Vector, shape: tuple[int, ...]) -> list[torch.Tensor]:
    """For each axis of the source the fractional index at every voxel of the target."""
    axes = len(shape)
    offsets = [_offsets(n).reshape([-1 if i == axis else 1 for i in range(axes)]) for axis, n in enumerate(shape)]
    rows = []
    for row in range(axes):
        # the smaller terms first: only the last sum is as large as the patch
        values = offsets[0] * float(matrix[row, 0]) + float(centre[row])
        for column in range(1, axes):
            values = values + offsets[column] * float(matrix[row, column])
        rows.append(values)
    return rows


def _spread_over(offsets: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Offsets on a coarse grid whose corners are the patch's, interpolated linearly at every voxel."""
    ends = zip(offsets.shape, shape, strict=True)
    return interpolate(offsets, [torch.linspace(0, coarse - 1, fine, dtype=torch.float64) for coarse, fine in ends])


def _normalised(coordinates: tuple[torch.Tensor, ...], sizes: tuple[int, ...]) -> torch.Tensor:
    """Indices to −1…1, stacked as `grid_sample` wants them: last axis of the source first."""
    grid = torch.empty(*coordinates[0].shape, len(sizes))
    for axis, (values, size) in enumerate(zip(coordinates, sizes, strict=True)):
        torch.mul(values, 2 / max(size - 1, 1), out=grid[..., axis]).sub_(1)
    return grid[None]


def _sample(source: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="border", align_corners=True)
