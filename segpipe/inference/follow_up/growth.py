"""How a lesion's volume changed between two scans, and whether that is more than the error of measuring it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from segpipe.inference.measurements.slices import TOO_THICK
from segpipe.lesions import equivalent_diameter_mm

REPEATABILITY: Final = 0.25 / (1.96 * math.sqrt(2))
"""Standard deviation of one volume, as a part of it: two scans of an unchanged nodule differ by ±25 % (95 %)."""
_95_PERCENT = 1.96
Change = Literal["growth", "shrinkage", "within error", "not measurable"]
Obstacle = Literal["slices too thick", "cut by a border"]


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a lesion changed; None in a lesion that only one scan shows.

    Args:
        growth_percent: Change of the volume in per cent of the earlier one.
        growth_low_percent: Lower end of its 95 % interval.
        growth_high_percent: Upper end.
        change: `growth` or `shrinkage` where the interval does not hold 0, else `within error`; `not measurable` where
            there is an obstacle.
        obstacle: Why growth cannot be measured: the slices of either scan are too thick for this lesion, or a border
            of either scan or of the window cuts it.
        mean_diameter_change_mm: Change of the mean axial diameter.
        doubling_days: Days in which the volume doubles at this pace (halves, if negative); None where the volume did
            not change or the time between the scans is unknown.
        doubling_fastest_days: The same at the end of the interval with the faster change.
        doubling_slowest_days: The same at the end with the slower change; None where that may be no change at all.

    Source:
        Doubling time: Schwartz, Cancer 14 (1961) 1272–1294.
    """

    growth_percent: float | None = None
    growth_low_percent: float | None = None
    growth_high_percent: float | None = None
    change: Change | None = None
    obstacle: Obstacle | None = None
    mean_diameter_change_mm: float | None = None
    doubling_days: float | None = None
    doubling_fastest_days: float | None = None
    doubling_slowest_days: float | None = None


def measure_growth(
    before: Mapping[str, Any], after: Mapping[str, Any], *, spacing_mm: tuple[float, float], days: float | None
) -> Growth:
    """Compares a lesion's findings in two scans.

    Args:
        before: The finding in the earlier scan, as plain data.
        after: The finding in the later scan.
        spacing_mm: Between the axial slices of the earlier and the later scan.
        days: Between the scans.
    """
    volumes = before["volume_mm3"], after["volume_mm3"]
    error = math.hypot(*(volume_error(mm3, spacing_mm=mm) for mm3, mm in zip(volumes, spacing_mm, strict=True)))
    middle = math.log(volumes[1] / volumes[0])
    low, high = middle - _95_PERCENT * error, middle + _95_PERCENT * error
    obstacle = _obstacle(before) or _obstacle(after)
    fastest, slowest = (low, high) if high < 0 else (high, low)
    return Growth(
        growth_percent=_percent(middle),
        growth_low_percent=_percent(low),
        growth_high_percent=_percent(high),
        change="not measurable" if obstacle else _change(low, high),
        obstacle=obstacle,
        mean_diameter_change_mm=_difference(before.get("mean_diameter_mm"), after.get("mean_diameter_mm")),
        doubling_days=_doubling_days(middle, days),
        doubling_fastest_days=_doubling_days(fastest, days),
        doubling_slowest_days=_doubling_days(slowest, days) if low > 0 or high < 0 else None,
    )


def volume_error(volume_mm3: float, *, spacing_mm: float) -> float:
    """Standard deviation of a measured volume, as a part of it.

    Repeatability and slices add up as squares. Each end of a lesion lies anywhere in the slice that shows it last, a
    standard deviation of spacing/√12, and both ends make spacing/√6 of the height, to which the volume is proportional.

    >>> round(volume_error(113.1, spacing_mm=1.0), 3), round(volume_error(113.1, spacing_mm=2.5), 3)
    (0.113, 0.193)

    Source:
        ±25 % between two scans: Gietema et al., Radiology 245 (2007) 888–894 (−21 to +24 %); Marchianò et al.,
        Radiology 251 (2009) 919–925 (±27 %); as growth in NELSON: van Klaveren et al., New England Journal of Medicine
        361 (2009) 2221–2229.
    """
    return math.hypot(REPEATABILITY, spacing_mm / (math.sqrt(6) * equivalent_diameter_mm(volume_mm3)))


def _obstacle(finding: Mapping[str, Any]) -> Obstacle | None:
    if finding.get("cut_by"):
        return "cut by a border"
    return "slices too thick" if finding.get("slice_note") == TOO_THICK else None


def _change(low: float, high: float) -> Change:
    return "growth" if low > 0 else "shrinkage" if high < 0 else "within error"


def _percent(log_ratio: float) -> float:
    return 100 * math.expm1(log_ratio)


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _doubling_days(log_ratio: float, days: float | None) -> float | None:
    return None if days is None or log_ratio == 0 else days * math.log(2) / log_ratio
