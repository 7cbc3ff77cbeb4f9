"""Two scans of one patient: which findings belong together, how they grew, and how fast their volume doubles."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segpipe.errors import ImageError
from segpipe.geometry import FloatArray, Grid, to_voxel, to_world
from segpipe.inference.batch.results import write_text
from segpipe.inference.follow_up.registration import Alignment, align
from segpipe.inference.thumbnail import read_thumbnail
from segpipe.system.plain_files import read_json

GROWTH_PERCENT = 25.0
REACH_MM = 10.0
Status = Literal["matched", "new", "not seen before", "gone", "out of view"]
Findings = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Course:
    """What became of one lesion.

    Args:
        status: `matched` in both scans; of those in the later scan alone, `new` where the earlier scan shows the place
            without it, and `not seen before` where the earlier scan does not reach; of those in the earlier scan alone,
            `gone` and `out of view` likewise.
        earlier: Number of the finding in the earlier scan.
        later: Number of the finding in the later scan.
        distance_mm: Between the centres, after the alignment.
        earlier_mm3: Volume in the earlier scan.
        later_mm3: Volume in the later scan.
        growth_percent: Change of the volume in per cent of the earlier one.
        grown: Whether that is at least a quarter.
        doubling_days: Days in which the volume doubles at this pace (halves, if negative); None where the volume did
            not change or the interval is unknown.

    Source:
        A quarter as growth: van Klaveren et al., New England Journal of Medicine 361 (2009) 2221–2229 (NELSON).
        Doubling time: Schwartz, Cancer 14 (1961) 1272–1294.
    """

    status: Status
    earlier: int | None = None
    later: int | None = None
    distance_mm: float | None = None
    earlier_mm3: float | None = None
    later_mm3: float | None = None
    growth_percent: float | None = None
    grown: bool | None = None
    doubling_days: float | None = None


@dataclass(frozen=True, eq=False)
class Views:
    """What two scans show, and how they lie to each other.

    Args:
        earlier: Grid of the earlier scan.
        later: Grid of the later scan.
        matrix: 4×4, positions (RAS+ mm) of the earlier scan → of the later one.
    """

    earlier: Grid
    later: Grid
    matrix: FloatArray

    def in_later(self, position_mm: Sequence[float]) -> bool:
        """Whether the later scan shows a place of the earlier one."""
        return _shows(self.later, to_world(self.matrix, position_mm))

    def in_earlier(self, position_mm: Sequence[float]) -> bool:
        """Whether the earlier scan shows a place of the later one."""
        return _shows(self.earlier, to_world(np.linalg.inv(self.matrix), position_mm))


def follow_up(earlier: Path, later: Path, *, days: float | None = None) -> Path:
    """Compares two predicted scans by the findings and thumbnails that their predictions left.

    Args:
        earlier: `NAME.json` of the earlier scan, in the folder where it was written.
        later: `NAME.json` of the later scan.
        days: Between the scans.

    Returns:
        `NAME.follow_up.json` next to the later one.

    Raises:
        ImageError: when a file holds no findings, its thumbnail is missing, or the scans cannot be aligned.
    """
    before, after = read_findings(earlier), read_findings(later)
    alignment = align(read_thumbnail(earlier), read_thumbnail(later))
    views = Views(_grid(before), _grid(after), alignment.matrix)
    courses = match_findings(before["findings"], after["findings"], views, days=days)
    content = {
        "format": "segpipe-follow-up-1",
        "earlier": before["scan"],
        "later": after["scan"],
        "days": days,
        "alignment": _describe(alignment),
        "lesions": [asdict(course) for course in courses],
    }
    return write_text(later.with_name(f"{after['scan']}.follow_up.json"), json.dumps(content, indent=1) + "\n")


def describe_follow_up(file: Path) -> str:
    """One line per lesion of a follow-up, for people."""
    content = read_json(file)
    return "\n".join([f"follow-up: {file}", *(f"  {_sentence(lesion)}" for lesion in content["lesions"])])


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
    matched = [_course(earlier[i], later[j], distance, days) for (i, j), distance in pairs.items()]
    lost = [
        Course(
            "gone" if views.in_later(finding["centre_mm"]) else "out of view",
            earlier=finding["number"],
            earlier_mm3=finding["volume_mm3"],
        )
        for number, finding in enumerate(earlier)
        if number not in {i for i, _ in pairs}
    ]
    new = [
        Course(
            "new" if views.in_earlier(finding["centre_mm"]) else "not seen before",
            later=finding["number"],
            later_mm3=finding["volume_mm3"],
        )
        for number, finding in enumerate(later)
        if number not in {j for _, j in pairs}
    ]
    return [*matched, *new, *lost]


def doubling_days(earlier_mm3: float, later_mm3: float, days: float | None) -> float | None:
    """Days in which the volume doubles at the pace seen; negative for a shrinking lesion.

    >>> doubling_days(100.0, 400.0, 90.0)
    45.0
    """
    if days is None or earlier_mm3 == later_mm3:
        return None
    return days * math.log(2) / math.log(later_mm3 / earlier_mm3)


def read_findings(file: Path) -> dict[str, Any]:
    """Reads what the format `json` of a prediction holds.

    Raises:
        ImageError: when it is something else.
    """
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise ImageError("the findings cannot be read", facts={"file": file, "found": error}) from error
    if not isinstance(content, dict) or content.get("format") != "segpipe-findings-1":
        raise ImageError(
            "this is no file of findings",
            facts={"file": file},
            hint="give the NAME.json that predict wrote for the earlier scan",
        )
    return content


def _assign(moved: Sequence[FloatArray], earlier: Findings, later: Findings) -> dict[tuple[int, int], float]:
    from scipy.optimize import linear_sum_assignment

    if not earlier or not later:
        return {}
    centres = np.array([finding["centre_mm"] for finding in later])
    distances = np.linalg.norm(np.array(moved)[:, None] - centres[None], axis=2)
    sizes = [[finding["longest_diameter_mm"] / 2 for finding in several] for several in (earlier, later)]
    reach = np.maximum(REACH_MM, np.maximum.outer(np.array(sizes[0]), np.array(sizes[1])))
    forbidden = 1e6
    rows, columns = linear_sum_assignment(np.where(distances <= reach, distances, forbidden))
    return {
        (int(i), int(j)): float(distances[i, j])
        for i, j in zip(rows, columns, strict=True)
        if distances[i, j] <= reach[i, j]
    }


def _course(before: Mapping[str, Any], after: Mapping[str, Any], distance: float, days: float | None) -> Course:
    growth = 100 * (after["volume_mm3"] / before["volume_mm3"] - 1)
    return Course(
        "matched",
        earlier=before["number"],
        later=after["number"],
        distance_mm=distance,
        earlier_mm3=before["volume_mm3"],
        later_mm3=after["volume_mm3"],
        growth_percent=growth,
        grown=growth >= GROWTH_PERCENT,
        doubling_days=doubling_days(before["volume_mm3"], after["volume_mm3"], days),
    )


def _sentence(lesion: Mapping[str, Any]) -> str:
    if lesion["earlier"] is None:
        return f"finding {lesion['later']}: {lesion['status']}, {lesion['later_mm3']:.0f} mm³"
    if lesion["status"] != "matched":
        return f"earlier finding {lesion['earlier']} ({lesion['earlier_mm3']:.0f} mm³): {lesion['status']}"
    days = lesion["doubling_days"]
    pace = "" if days is None else f", {'doubling' if days > 0 else 'halving'} in {abs(days):.0f} days"
    volumes = f"{lesion['earlier_mm3']:.0f} → {lesion['later_mm3']:.0f} mm³"
    return (
        f"finding {lesion['later']} was {lesion['earlier']}: {volumes}"
        f" ({lesion['growth_percent']:+.0f} %{', grown' if lesion['grown'] else ''}{pace})"
    )


def _grid(findings: Mapping[str, Any]) -> Grid:
    """The grid of the scan that findings belong to."""
    return Grid(tuple(findings["grid"]["shape"]), np.array(findings["grid"]["affine_ras_mm"]))


def _shows(grid: Grid, position_mm: FloatArray) -> bool:
    """Whether a position (RAS+ mm) lies in a voxel of the grid."""
    index = to_voxel(grid.affine, position_mm)
    return bool(np.all(index >= -0.5) and np.all(index <= np.array(grid.shape) - 0.5))


def _describe(alignment: Alignment) -> dict[str, Any]:
    return {"matrix_ras_mm": alignment.matrix.tolist(), "correlation": alignment.correlation}
