"""Two scans of one patient: which findings belong together, and what became of each."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from segpipe.errors import ImageError
from segpipe.geometry import FloatArray, Grid, to_world
from segpipe.inference.batch.results import write_text
from segpipe.inference.follow_up.growth import Growth, measure_growth
from segpipe.inference.follow_up.registration import Alignment, align
from segpipe.inference.follow_up.views import Views
from segpipe.inference.thumbnail import read_thumbnail
from segpipe.lesions import superior_axis
from segpipe.system.files.plain_files import read_json

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
    thumbnails = read_thumbnail(earlier), read_thumbnail(later)
    alignment = align(*thumbnails)
    views = Views(_grid(before), _grid(after), alignment.matrix, thumbnails)
    courses = match_findings(before["findings"], after["findings"], views, days=days)
    content = {
        "format": "segpipe-follow-up-2",
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


def _sentence(lesion: Mapping[str, Any]) -> str:
    if lesion["earlier"] is None:
        return f"finding {lesion['later']}: {lesion['status']}, {lesion['later_mm3']:.0f} mm³"
    if lesion["status"] != "matched":
        return f"earlier finding {lesion['earlier']} ({lesion['earlier_mm3']:.0f} mm³): {lesion['status']}"
    volumes = f"{lesion['earlier_mm3']:.0f} → {lesion['later_mm3']:.0f} mm³"
    return f"finding {lesion['later']} was {lesion['earlier']}: {volumes}, {_growth_in_words(lesion)}"


def _growth_in_words(lesion: Mapping[str, Any]) -> str:
    if lesion["change"] == "not measurable":
        return f"{lesion['growth_percent']:+.0f} %, but growth is not measurable: {lesion['obstacle']}"
    interval = f"{lesion['growth_low_percent']:+.0f} to {lesion['growth_high_percent']:+.0f}"
    change = {"within error": "within the error of measurement"}.get(lesion["change"], lesion["change"])
    return f"{lesion['growth_percent']:+.0f} % (95 % interval {interval}): {change}{_pace_in_words(lesion)}"


def _pace_in_words(lesion: Mapping[str, Any]) -> str:
    fastest, slowest = lesion["doubling_fastest_days"], lesion["doubling_slowest_days"]
    if fastest is None:
        return ""
    if slowest is None:
        return f", doubling in {fastest:.0f} days at the fastest"
    verb = "doubling" if fastest > 0 else "halving"
    return f", {verb} in {abs(lesion['doubling_days']):.0f} days ({abs(fastest):.0f} to {abs(slowest):.0f})"


def _grid(findings: Mapping[str, Any]) -> Grid:
    """The grid of the scan that findings belong to."""
    return Grid(tuple(findings["grid"]["shape"]), np.array(findings["grid"]["affine_ras_mm"]))


def _describe(alignment: Alignment) -> dict[str, Any]:
    return {"matrix_ras_mm": alignment.matrix.tolist(), "correlation": alignment.correlation}
