"""Two predicted scans of one patient are aligned, and what became of each lesion is worked out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segpipe.case import Volume
from segpipe.errors import ImageError
from segpipe.geometry import Grid
from segpipe.inference.follow_up.matching import Course, Findings, match_findings
from segpipe.inference.follow_up.registration import Alignment, align
from segpipe.inference.follow_up.views import Views
from segpipe.inference.thumbnail import read_thumbnail
from segpipe.system.files.plain_files import read_json


@dataclass(frozen=True, eq=False)
class PredictedScan:
    """What a follow-up needs of a predicted scan.

    Args:
        name: The scan's name.
        grid: Its grid.
        findings: Its findings, as plain data.
        thumbnail: A coarse copy of it.
    """

    name: str
    grid: Grid
    findings: Findings
    thumbnail: Volume

    @property
    def digest(self) -> str:
        """16 hex digits of the name and the findings."""
        return hashlib.sha256(json.dumps([self.name, list(self.findings)]).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class FollowUp:
    """What became of the lesions between two scans.

    Args:
        earlier: Name of the earlier scan.
        later: Name of the later scan.
        days: Between the scans.
        alignment: How they lie to each other.
        courses: Of each lesion: those in both scans, then those in the later one alone, then those in the earlier one.
    """

    earlier: str
    later: str
    days: float | None
    alignment: Alignment
    courses: list[Course]

    @property
    def by_finding(self) -> dict[int, Course]:
        """The courses of the later scan's findings, by their number."""
        return {course.later: course for course in self.courses if course.later is not None}

    @property
    def lost(self) -> list[Course]:
        """The courses of lesions that the earlier scan alone shows."""
        return [course for course in self.courses if course.later is None]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `NAME.follow_up.json` holds them."""
        return {
            "format": "segpipe-follow-up-2",
            "earlier": self.earlier,
            "later": self.later,
            "days": self.days,
            "alignment": {
                "matrix_ras_mm": self.alignment.matrix.tolist(),
                "correlation": self.alignment.correlation,
            },
            "lesions": [asdict(course) for course in self.courses],
        }


def compare_scans(earlier: PredictedScan, later: PredictedScan, *, days: float | None = None) -> FollowUp:
    """Aligns two predicted scans and pairs their findings.

    Args:
        earlier: The earlier scan.
        later: The later scan.
        days: Between them.

    Raises:
        ImageError: when the scans cannot be aligned.
    """
    thumbnails = earlier.thumbnail, later.thumbnail
    alignment = align(*thumbnails)
    views = Views(earlier.grid, later.grid, alignment.matrix, thumbnails)
    courses = match_findings(earlier.findings, later.findings, views, days=days)
    return FollowUp(earlier.name, later.name, days, alignment, courses)


def read_predicted(file: Path) -> PredictedScan:
    """Reads what the prediction of a scan left.

    Args:
        file: Its `NAME.json`, in the folder where it was written.

    Raises:
        ImageError: when the file holds no findings, or its thumbnail is missing.
    """
    content = read_findings(file)
    try:
        grid = Grid(tuple(content["grid"]["shape"]), np.array(content["grid"]["affine_ras_mm"]))
        name, findings = content["scan"], content["findings"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ImageError("the findings cannot be read", facts={"file": file, "found": repr(error)}) from error
    return PredictedScan(name, grid, findings, read_thumbnail(file))


def read_findings(file: Path) -> Mapping[str, Any]:
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
