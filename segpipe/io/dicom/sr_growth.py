"""What a report says of a finding's course since an earlier scan, in coded concepts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code as DicomCode

from segpipe.io.dicom.objects import SCHEME

_COURSE = DicomCode("course", SCHEME, "Course since the earlier scan")
_COURSES = {
    "new": codes.SCT.NewFinding,
    "not seen before": DicomCode("not_seen_before", SCHEME, "Not seen before: the earlier scan lacks the place"),
    "growth": DicomCode("growth", SCHEME, "Growth"),
    "shrinkage": DicomCode("shrinkage", SCHEME, "Shrinkage"),
    "within error": DicomCode("within_error", SCHEME, "Change within the error of measurement"),
    "not measurable": DicomCode("not_measurable", SCHEME, "Growth is not measurable"),
}
_PERCENT = {
    "growth_percent": DicomCode("volume_change", SCHEME, "Change of the volume since the earlier scan"),
    "growth_low_percent": DicomCode("volume_change_low", SCHEME, "Lower end of the 95 % interval of that change"),
    "growth_high_percent": DicomCode("volume_change_high", SCHEME, "Upper end of the 95 % interval of that change"),
}
_DAYS = {
    "doubling_days": DicomCode("doubling_time", SCHEME, "Doubling time of the volume; of halving if negative"),
    "doubling_fastest_days": DicomCode(
        "doubling_time_fastest", SCHEME, "Doubling time at the faster end of the interval"
    ),
    "doubling_slowest_days": DicomCode(
        "doubling_time_slowest", SCHEME, "Doubling time at the slower end of the interval"
    ),
}


class Compared(Protocol):
    """A finding's course; `segpipe.inference.follow_up.matching.Course` is one."""

    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def change(self) -> str | None: ...  # noqa: D102
    @property
    def obstacle(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True)
class Changes:
    """What became of lesions since an earlier scan.

    Args:
        courses: Number of a finding → its course.
        comments: What is said of the scans as a whole, and of lesions that the earlier one alone shows.
    """

    courses: Mapping[int, Compared] = field(default_factory=dict)
    comments: Sequence[str] = ()


NOTHING_EARLIER = Changes()


def code_growth(course: Compared) -> list[Any]:
    """Change of the volume and doubling time, each with the ends of its interval where they are known.

    Numbers of a growth that is not measurable are left out: without their obstacle they would be taken for true.
    """
    from highdicom.sr import Measurement

    if course.change in (None, "not measurable"):
        return []
    return [
        Measurement(code, round(value, 1), unit)
        for names, unit in ((_PERCENT, codes.UCUM.Percent), (_DAYS, codes.UCUM.Day))
        for name, code in names.items()
        if (value := getattr(course, name)) is not None
    ]


def code_course(course: Compared) -> Any:
    """Whether it is new, has grown or has shrunk."""
    from highdicom.sr import QualitativeEvaluation

    return QualitativeEvaluation(_COURSE, _COURSES[course.change or course.status])
