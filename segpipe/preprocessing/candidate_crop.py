"""The crop of scan and probability around a candidate, through the voxels and the window of the recipe."""

from typing import Annotated

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from segpipe.case import Case
from segpipe.preprocessing.crop_sampling import crop_positions, sample_crop
from segpipe.preprocessing.recipe import Hu, Millimetres, Recipe

Side = Annotated[int, Interval(ge=4, le=128)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CandidateCrop:
    """What of a scan is seen around a candidate.

    Args:
        sides: Voxels along each axis of the patient.
        spacing_mm: Their size.
        window_hu: HU that become −1 and 1; values outside are clipped.
    """

    sides: tuple[Side, Side, Side]
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    window_hu: tuple[Hu, Hu]

    @classmethod
    def of(cls, recipe: Recipe, size_mm: float) -> "CandidateCrop":
        """The crop of a size through the voxels of a recipe, as far as there may be so many."""
        x, y, z = (min(max(round(size_mm / spacing), 4), 128) for spacing in recipe.spacing_mm)
        return cls((x, y, z), recipe.spacing_mm, recipe.window_hu)


def cut_candidate(
    case: Case, probability: NDArray[np.float32], centre_mm: tuple[float, float, float], crop: CandidateCrop
) -> NDArray[np.float32]:
    """Scan and probability around a candidate, (2, x, y, z): the scan from −1 to 1, the probability from 0 to 1.

    Args:
        case: The scan.
        probability: Of each of its voxels.
        centre_mm: The middle of the crop, RAS+.
        crop: What is seen.
    """
    low, high = crop.window_hu
    positions = crop_positions(case.grid, centre_mm, sides=crop.sides, spacing_mm=crop.spacing_mm)
    scan_hu = sample_crop(case.image, positions, mode="nearest")
    scan = (2 * (scan_hu - low) / (high - low) - 1).clip(-1, 1)
    around = sample_crop(probability, positions, mode="constant")
    return np.stack([scan, around]).reshape(2, *crop.sides).astype(np.float32)
