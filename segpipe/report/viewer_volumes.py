"""Packs a scan and its mask into text that a page can hold: gzipped NIfTI with few bits per voxel."""

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case
from segpipe.geometry import Grid
from segpipe.inference.window.uncertainty_maps import STEPS

MOST_VOXELS = 40_000_000
STEP_HU = 10
LOWEST_HU = -1024
_HEADER_BYTES = 352


@dataclass(frozen=True)
class Packed:
    """A scan and its mask as base64 of gzipped NIfTI files.

    Args:
        ct: HU in steps of `STEP_HU`, from `LOWEST_HU` to 1526.
        mask: Label map, 0 = background.
        uncertainty: Entropy in bits, if it is known.
        grid: The grid of both.
        factor: How many voxels of the scan became one, along each axis.
    """

    ct: str
    mask: str
    grid: Grid
    factor: tuple[int, int, int]
    uncertainty: str | None = None


def pack(
    case: Case,
    mask: NDArray[np.uint8],
    *,
    entropy: NDArray[np.uint8] | None = None,
    most_voxels: int = MOST_VOXELS,
) -> Packed:
    """Packs a scan and its mask; more than `most_voxels` are made fewer, the finest axes first.

    Of a block of voxels the scan keeps the mean, and the mask its foreground if there is any, so that no small lesion
    vanishes; the entropy keeps the largest.
    """
    factor = choose_factor(case.grid, most_voxels)
    grid = coarser(case.grid, factor)
    steps = np.empty(grid.shape, dtype=np.uint8, order="F")
    for index in range(grid.shape[2]):
        slices = slice(index * factor[2], (index + 1) * factor[2])
        hu = _blocks(case.image[:, :, slices], factor).mean(axis=(1, 3, 4), dtype=np.float32)
        steps[:, :, index] = np.clip(np.rint((hu - LOWEST_HU) / STEP_HU), 0, 255)
    ct = _nifti(steps, grid, (STEP_HU, LOWEST_HU))
    shown = _nifti(_largest(mask, grid, factor), grid, (1, 0))
    unsure = None if entropy is None else _nifti(_largest(entropy, grid, factor), grid, (1 / STEPS, 0))
    return Packed(ct, shown, grid, factor, unsure)


def choose_factor(grid: Grid, most_voxels: int) -> tuple[int, int, int]:
    """How many voxels become one along each axis, so that at most `most_voxels` stay.

    >>> choose_factor(Grid((512, 512, 134), np.diag([0.7, 0.7, 3, 1.0])), 40_000_000)
    (1, 1, 1)
    >>> choose_factor(Grid((512, 512, 600), np.diag([0.7, 0.7, 1, 1.0])), 40_000_000)
    (2, 2, 1)
    """
    factor = np.ones(3, dtype=int)
    spacing_mm = np.array(grid.spacing_mm)
    while np.prod(np.array(grid.shape) // factor, dtype=np.int64) > most_voxels:
        edges = spacing_mm * factor
        factor[edges <= edges.min() * 1.01] *= 2
    x, y, z = np.minimum(factor, grid.shape).tolist()
    return x, y, z


def coarser(grid: Grid, factor: tuple[int, int, int]) -> Grid:
    """The grid whose voxels are blocks of `factor` voxels; an incomplete block at the end is dropped."""
    x, y, z = (count // step for count, step in zip(grid.shape, factor, strict=True))
    steps = np.diag([*factor, 1.0])
    steps[:3, 3] = (np.array(factor) - 1) / 2
    return Grid((x, y, z), grid.affine @ steps)


def _largest(volume: NDArray[np.uint8], grid: Grid, factor: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The largest value of each block."""
    if factor == (1, 1, 1):
        return volume
    found = np.empty(grid.shape, dtype=np.uint8, order="F")
    for index in range(grid.shape[2]):
        slices = slice(index * factor[2], (index + 1) * factor[2])
        found[:, :, index] = _blocks(volume[:, :, slices], factor).max(axis=(1, 3, 4))
    return found


def _blocks(slab: NDArray[np.generic], factor: tuple[int, int, int]) -> NDArray[np.generic]:
    """Voxels (x, y, slices of one block) as (block, in block, block, in block, in block)."""
    x, y, z = factor
    width, height = slab.shape[0] // x, slab.shape[1] // y
    return slab[: width * x, : height * y].reshape(width, x, height, y, z)


def _nifti(array: NDArray[np.uint8], grid: Grid, scaling: tuple[float, float]) -> str:
    import nibabel
    from isal import igzip

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(array.shape)
    header.set_sform(grid.affine, code=1)
    header.set_qform(grid.affine, code=1)
    header.set_xyzt_units("mm")
    header.set_slope_inter(*scaling)
    header["vox_offset"] = _HEADER_BYTES
    header["magic"] = b"n+1"
    content = header.binaryblock.ljust(_HEADER_BYTES, b"\0") + array.tobytes(order="F")
    return base64.b64encode(igzip.compress(content, compresslevel=3, mtime=0)).decode()
