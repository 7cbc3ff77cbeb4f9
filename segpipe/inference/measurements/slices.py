"""Whether a scan's slices are thin enough to measure a lesion of this size."""

from dataclasses import dataclass
from typing import Final, Literal

from segpipe.geometry import Grid
from segpipe.lesions import Voxels, superior_axis

RECOMMENDED_MM: Final = 1.5
FEWEST_SLICES: Final = 3
TOO_THICK: Final = "slices too thick to measure this nodule's volume"
THICK: Final = "slices thicker than recommended"
SliceNote = Literal["slices too thick to measure this nodule's volume", "slices thicker than recommended"]


@dataclass(frozen=True)
class Slices:
    """What the slices allow.

    Args:
        slice_count: Axial slices that show the lesion.
        slice_spacing_mm: Distance between them.
        slice_note: What a reader must know of it, or None.
    """

    slice_count: int
    slice_spacing_mm: float
    slice_note: SliceNote | None


def measure_slices(voxels: Voxels, grid: Grid) -> Slices:
    """Counts a lesion's slices and says what they do not allow.

    In fewer than three slices each one is the first or the last, which show a part of their thickness only: there is no
    volume that can be relied on. Slices more than 1.5 mm apart are thicker than recommended for nodules.

    Source:
        1.5 mm: MacMahon et al., Radiology 284 (2017) 228–243 (Fleischner Society).
        Error of the volume by slice thickness: Nietert et al., Chest 135 (2009) 1580–1587.
    """
    across = superior_axis(grid)
    count, spacing = voxels.inside.shape[across], grid.spacing_mm[across]
    if count < FEWEST_SLICES:
        return Slices(count, spacing, TOO_THICK)
    return Slices(count, spacing, THICK if spacing > RECOMMENDED_MM else None)
