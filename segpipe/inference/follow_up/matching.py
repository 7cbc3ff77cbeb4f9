"""Findings of two scans of one patient: which belong together, and what became of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from segpipe.geometry import FloatArray, Grid, to_world
from segpipe.inference.follow_up.growth import Growth, measure_growth
from segpipe.inference.follow_up.views import Views
from segpipe.lesions import superior_axis

REACH_MM = 10.0
Status = Literal["matched", "new", "not seen before", "gone", "not covered"]
Findings = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Course(Growth):
    """What became of one lesion.

    Args:
        status: `matched` in both scans; of those in the later scan alone, `new` where the earlier scan shows the place
            without it, and `not seen before` where it does not reach there or is not aligned there; of those in the
            earlier scan alone, `gone` and `not covered` likewise.
        earlier: Number of the finding in the earlier scan.
        later: Number of the finding in the later scan.
        distance_mm: Between the centres, after the alignment.
        earlier_mm3: Volume in the earlier scan.
        later_mm3: Volume in the later scan.
    """

    status: Status
    earlier: int | None = None
    later: int | None = None
    distance_mm: float | None = None
    earlier_mm3: float | None = None
    later_mm3: float | None = None


def match_findings(earlier: Findings, later: Findings, views: Views, *, days: float | None) -> list[Course]:
    """Pairs findings one to one so that the sum of their distances is smallest.

    Centres may lie 10 mm apart, or as far as the larger of the two lesions reaches.

    Args:
        earlier: Findings of the earlier scan, as plain data.
        later: Findings of the later scan.
        views: What the two scans show, and how they lie to each other.
        days: Between the scans.
    """
    moved = [to_world(views.matrix, finding["centre_mm"]) for finding in earlier]
    pairs = _assign(moved, earlier, later)
    matched = [_course((earlier[i], later[j]), distance, views, days) for (i, j), distance in pairs.items()]
    lost = [
        Course(
            "gone" if views.in_later(finding["centre_mm"], radius_mm=_radius_mm(finding)) else "not covered",
            earlier=finding["number"],
            earlier_mm3=finding["volume_mm3"],
        )
        for number, finding in enumerate(earlier)
        if number not in {i for i, _ in pairs}
    ]
    new = [
        Course(
            "new" if views.in_earlier(finding["centre_mm"], radius_mm=_radius_mm(finding)) else "not seen before",
            later=finding["number"],
            later_mm3=finding["volume_mm3"],
        )
        for number, finding in enumerate(later)
        if number not in {j for _, j in pairs}
    ]
    return [*matched, *new, *lost]


def _assign(moved: Sequence[FloatArray], earlier: Findings, later: Findings) -> dict[tuple[int, int], float]:
    from scipy.optimize import linear_sum_assignment

    if not earlier or not later:
        return {}
    centres = np.array([finding["centre_mm"] for finding in later])
    distances = np.linalg.norm(np.array(moved)[:, None] - centres[None], axis=2)
    sizes = [[_radius_mm(finding) for finding in several] for several in (earlier, later)]
    reach = np.maximum(REACH_MM, np.maximum.outer(np.array(sizes[0]), np.array(sizes[1])))
    forbidden = 1e6
    rows, columns = linear_sum_assignment(np.where(distances <= reach, distances, forbidden))
    return {
        (int(i), int(j)): float(distances[i, j])
        for i, j in zip(rows, columns, strict=True)
        if distances[i, j] <= reach[i, j]
    }


def _radius_mm(finding: Mapping[str, Any]) -> float:
    return float(finding["longest_diameter_mm"]) / 2


def _course(
    pair: tuple[Mapping[str, Any], Mapping[str, Any]], distance: float, views: Views, days: float | None
) -> Course:
    before, after = pair
    spacings = _slice_spacing_mm(views.earlier), _slice_spacing_mm(views.later)
    return Course(
        "matched",
        earlier=before["number"],
        later=after["number"],
        distance_mm=distance,
        earlier_mm3=before["volume_mm3"],
        later_mm3=after["volume_mm3"],
        **vars(measure_growth(before, after, spacing_mm=spacings, days=days)),
    )


def _slice_spacing_mm(grid: Grid) -> float:
    return grid.spacing_mm[superior_axis(grid)]
