"""What became of the lesions of an earlier scan, in words."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segpipe.inference.follow_up.comparing import FollowUp
from segpipe.system.files.plain_files import read_json

Lesion = Mapping[str, Any]


def describe_follow_up(file: Path) -> str:
    """One line per lesion of a follow-up, for people."""
    content = read_json(file)
    return "\n".join([f"follow-up: {file}", *(f"  {describe_lesion(lesion)}" for lesion in content["lesions"])])


def describe_since(follow_up: FollowUp) -> str:
    """Which scans were compared."""
    ago = "" if follow_up.days is None else f", {follow_up.days:g} days before"
    return f"Compared with the earlier scan {follow_up.earlier}{ago}"


def describe_lost(follow_up: FollowUp) -> list[str]:
    """A line on each lesion that the earlier scan alone shows."""
    return [describe_lesion(asdict(course)) for course in follow_up.lost]


def describe_lesion(lesion: Lesion) -> str:
    """A line on a lesion, with its numbers in both scans.

    Args:
        lesion: A `Course` as plain data.
    """
    if lesion["earlier"] is None:
        return f"finding {lesion['later']}: {lesion['status']}, {lesion['later_mm3']:.0f} mm³"
    if lesion["later"] is None:
        return f"earlier finding {lesion['earlier']} ({lesion['earlier_mm3']:.0f} mm³): {lesion['status']}"
    return f"finding {lesion['later']} was {lesion['earlier']}: {describe_course(lesion)}"


def describe_course(lesion: Lesion) -> str:
    """What became of a lesion of the later scan: its growth and pace with intervals, or whether it is new."""
    if lesion["status"] != "matched":
        return str(lesion["status"])
    return f"{lesion['earlier_mm3']:.0f} → {lesion['later_mm3']:.0f} mm³, {_growth(lesion)}"


def _growth(lesion: Lesion) -> str:
    if lesion["change"] == "not measurable":
        return f"{lesion['growth_percent']:+.0f} %, but growth is not measurable: {lesion['obstacle']}"
    interval = f"{lesion['growth_low_percent']:+.0f} to {lesion['growth_high_percent']:+.0f}"
    change = {"within error": "within the error of measurement"}.get(lesion["change"], lesion["change"])
    return f"{lesion['growth_percent']:+.0f} % (95 % interval {interval}): {change}{_pace(lesion)}"


def _pace(lesion: Lesion) -> str:
    fastest, slowest = lesion["doubling_fastest_days"], lesion["doubling_slowest_days"]
    if fastest is None:
        return ""
    if slowest is None:
        return f", doubling in {fastest:.0f} days at the fastest"
    verb = "doubling" if fastest > 0 else "halving"
    return f", {verb} in {abs(lesion['doubling_days']):.0f} days ({abs(fastest):.0f} to {abs(slowest):.0f})"
