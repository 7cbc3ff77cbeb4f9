"""The crop of scan and mask around a nodule that the rating network sees, along the patient's axes."""

from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from pydantic import ConfigDict, FiniteFloat
from pydantic.dataclasses import dataclass

from segpipe.case import Case
from segpipe.preprocessing.crop_sampling import crop_positions, sample_crop

Hu = Annotated[FiniteFloat, Interval(ge=-32768, le=32767)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RatingCrop:
    """What of a scan is seen around a nodule.

    Args:
        side: Voxels along each axis of the patient.
        spacing_mm: The edge of a voxel.
        window_hu: HU that become −1 and 1; values outside are clipped.
        margin_mm: What is farther from the nodule is hidden, so that a whole scan looks as a crop that ends there.
    """

    side: Annotated[int, Interval(ge=8, le=128)]
    spacing_mm: Annotated[FiniteFloat, Interval(ge=0.1, le=5)]
    window_hu: tuple[Hu, Hu]
    margin_mm: Annotated[FiniteFloat, Interval(ge=0, le=100)]


def cut_crop(
    case: Case, mask: NDArray[Any], centre_mm: tuple[float, float, float], crop: RatingCrop
) -> NDArray[np.float32]:
    """Scan and mask around a nodule, (2, x, y, z): the scan from −1 to 1, the mask from 0 to 1.

    Args:
        case: The scan.
        mask: The nodule's voxels are true, on the scan's grid.
        centre_mm: The middle of the crop, RAS+.
        crop: What is seen.
    """
    from scipy.ndimage import distance_transform_edt

    low, high = crop.window_hu
    positions = crop_positions(case.grid, centre_mm, sides=3 * (crop.side,), spacing_mm=3 * (crop.spacing_mm,))
    inside = sample_crop(mask, positions, mode="constant").reshape(3 * (crop.side,))
    scan_hu = sample_crop(case.image, positions, mode="nearest").reshape(inside.shape)
    hidden = distance_transform_edt(inside == 0, sampling=crop.spacing_mm) > crop.margin_mm
    scan = np.where(hidden, -1, (2 * (scan_hu - low) / (high - low) - 1).clip(-1, 1))
    return np.stack([scan, inside]).astype(np.float32)
