"""Where in the lungs a lesion is: the patient's side, and the upper, middle or lower zone."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from segpipe.case import Case
from segpipe.geometry import to_world
from segpipe.inference.measurements.lungs import Lungs, Side, separate_lungs
from segpipe.lesions import Voxels, superior_axis

OUTSIDE_MM = 10.0
BODY_HU = -300.0
NARROWEST_THORAX_MM = 180.0
Zone = Literal["upper", "middle", "lower", "outside the lungs", "unknown"]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Place:
    """Where a lesion is.

    Args:
        side: The side of the nearest lung; where lungs cannot be separated the side of the body, seen from its middle
            in the lesion's axial slice; None where the scan does not show that either.
        zone: The third of the lungs' height with the lesion's centre, `outside the lungs` where no air of a lung is
            within 10 mm of the lesion, `unknown` where the scan does not show lungs from end to end.
    """

    side: Side | None
    zone: Zone


class Places:
    """Gives the places of a scan's lesions; the lungs are looked for once, and only when there is a lesion.

    Args:
        case: The scan.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._body = BodySides(case)

    def find(self, voxels: Voxels, centre_mm: Point, *, slice_index: int) -> Place:
        """The place of a lesion with its centre (RAS+ mm) and the axial slice in which it is longest."""
        lungs = self._lungs
        if lungs is None:
            return Place(self._body.find(centre_mm, slice_index=slice_index), "unknown")
        lung, gap_mm = lungs.nearest(to_world(self._case.grid.affine, voxels.line_ends(axis=0)))
        side = lungs.sides[lung] or self._body.find(centre_mm, slice_index=slice_index)
        return Place(side, "outside the lungs" if gap_mm > OUTSIDE_MM else _zone(lungs.height_mm, centre_mm[2]))

    def prepare(self) -> None:
        """Looks for the lungs now, so that the first lesion need not wait for it."""
        _ = self._lungs

    @cached_property
    def _lungs(self) -> Lungs | None:
        return separate_lungs(self._case)


class BodySides:
    """Gives the patient's side of a point; the middle of the body is worked out once per axial slice.

    The middle is halfway between the ends of the tissue to the right and to the left, of which the outermost hundredth
    does not count; a slice with less than 18 cm of it shows only a part of a thorax and gives no side.

    Args:
        case: The scan.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._middles: dict[int, float | None] = {}

    def find(self, centre_mm: Point, *, slice_index: int) -> Side | None:
        """The side of a point (RAS+ mm) in the axial slice with this index, or None."""
        if slice_index not in self._middles:
            self._middles[slice_index] = self._middle_mm(slice_index)
        middle = self._middles[slice_index]
        if middle is None:
            return None
        return "right" if centre_mm[0] > middle else "left"

    def _middle_mm(self, slice_index: int) -> float | None:
        across = superior_axis(self._case.grid)
        # np.take would copy the whole scan first when its array is in Fortran order
        tissue = np.argwhere(np.moveaxis(self._case.image, across, 0)[slice_index] > BODY_HU)
        if not len(tissue):
            return None
        right_mm = to_world(self._case.grid.affine, np.insert(tissue, across, slice_index, axis=1))[:, 0]
        low, high = np.percentile(right_mm, [1, 99])
        return float((low + high) / 2) if high - low >= NARROWEST_THORAX_MM else None


def _zone(height_mm: tuple[float, float] | None, up_mm: float) -> Zone:
    if height_mm is None:
        return "unknown"
    share = (up_mm - height_mm[0]) / (height_mm[1] - height_mm[0])
    return "lower" if share < 1 / 3 else "upper" if share > 2 / 3 else "middle"
