"""A case: one scan with its optional mask, valid once constructed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import GeometryError, ImageError
from segpipe.geometry import Grid, describe_apart
from segpipe.labels import NODULE, check_mask_values

SMALLEST_VOXEL_MM, LARGEST_VOXEL_MM = 0.05, 50.0


@dataclass(frozen=True, eq=False)
class Volume:
    """An array on a grid: a scan in HU or a mask, as a file holds it.

    Args:
        array: Voxels (x, y, z) in the order of the file's array axes.
        grid: Shape and affine of the array.
        source: The file or folder it came from, for messages.
    """

    array: NDArray[np.generic]
    grid: Grid
    source: Path | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One scan and, if there is one, its mask on the same grid.

    Args:
        id: A name without any patient information.
        image: HU, (x, y, z).
        grid: The scan's own grid.
        mask: Label values, uint8, or None for a scan to predict.

    Raises:
        ImageError: NaN or infinite voxels, or an image without any contrast.
        GeometryError: an array that does not have the grid's shape, or voxels of a size that no CT has.
    """

    id: str
    image: NDArray[np.generic]
    grid: Grid
    mask: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.image.shape != self.grid.shape:
            raise GeometryError(
                "image and grid must have one shape",
                facts={"case": self.id, "image": self.image.shape, "grid": self.grid},
            )
        check_scale(self.grid, case=self.id)
        check_hu(self.image, case=self.id)


def check_scale(grid: Grid, *, case: str) -> None:
    """Refuses a grid in another unit than millimetres.

    Raises:
        GeometryError: for voxels of a size that no CT has.
    """
    if not SMALLEST_VOXEL_MM <= grid.voxel_volume_mm3 ** (1 / 3) <= LARGEST_VOXEL_MM:
        voxel, extent = ("×".join(f"{mm:.3g}" for mm in sizes) for sizes in (grid.spacing_mm, grid.extent_mm))
        raise GeometryError(
            "a scan must be in millimetres; no CT has voxels of such a size",
            facts={"case": case, "voxel": f"{voxel} mm", "scan": f"{extent} mm"},
            hint="is its affine in metres or micrometres? scale it to millimetres and write the file again",
        )


def check_hu(image: NDArray[np.generic], *, case: str) -> None:
    """Refuses an image that has NaN or infinite voxels or only one value.

    Raises:
        ImageError: with the count of bad voxels.
    """
    if np.issubdtype(image.dtype, np.floating):
        bad = int(image.size - np.count_nonzero(np.isfinite(image)))
        if bad:
            raise ImageError(
                "all voxels must be finite",
                facts={"case": case, "found": f"{bad} NaN or infinite of {image.size} voxels"},
                hint="export the scan again; segpipe does not guess missing HU values",
            )
    if image.min() == image.max():
        raise ImageError("the image is constant", facts={"case": case, "value": image.flat[0]})


def build_case(
    case_id: str, image: Volume, mask: Volume | None = None, *, labels: Mapping[int, str] | None = None
) -> Case:
    """Joins an image and its mask to a valid case.

    Raises:
        GeometryError: when the two are not on the same grid.
        ImageError: see `Case`.
        LabelError: when the mask holds values outside `labels` (default: 1 = nodule).
    """
    if mask is None:
        return Case(case_id, image.array, image.grid)
    if not image.grid.matches(mask.grid):
        raise GeometryError(
            "image and mask are not on the same grid",
            facts={"case": case_id, **describe_apart(image=image.grid, mask=mask.grid)},
            hint="export the mask again from the same series, or take the case out of the data set",
        )
    values = check_mask_values(mask.array, labels if labels is not None else {NODULE.value: NODULE.name})
    return Case(case_id, image.array, image.grid, values)
