"""The fingerprint of evaluated scans: how what they measure, and what was found in them, is spread."""

from collections.abc import Mapping, Sequence
from typing import Any

from segpipe.evaluation.results import CaseResult
from segpipe.system.evenly import evenly

PREDICTIONS: Mapping[str, str] = {
    "findings": "findings in a scan",
    "found_mm3": "found in a scan, mm³",
    "largest_mm3": "largest finding, mm³",
    "probability": "mean probability found",
}
"""What of the predictions is kept, in words."""
MOST = 2000
"""Scans; of more an even choice of each quantity is kept."""
Values = dict[str, list[float]]


def fingerprint_of(results: Sequence[CaseResult]) -> dict[str, Any]:
    """The quantities of scans with what each measures; each sorted for itself, so that no scan can be recognised.

    Args:
        results: Evaluated cases; those without a profile of their scan are left out.
    """
    profiled = [{**result.scan, **_predicted(result)} for result in results if result.scan]
    names = dict.fromkeys(name for profile in profiled for name in profile)
    values = {name: sorted(float(f"{one[name]:.4g}") for one in profiled if name in one) for name in names}
    return {"scans": len(profiled), "values": {name: evenly(own, MOST) for name, own in values.items()}}


def fingerprint_together(fingerprints: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """That of all scans of several, e.g. of folds, each of which has measured what it held out.

    >>> fingerprint_together([{"scans": 2, "values": {"lungs": [0, 1]}}, {"scans": 1, "values": {"lungs": [0.5]}}])
    {'scans': 3, 'values': {'lungs': [0, 0.5, 1]}}
    """
    names = dict.fromkeys(name for one in fingerprints for name in one["values"])
    values = {name: sorted(value for one in fingerprints for value in one["values"].get(name, ())) for name in names}
    scans = sum(one["scans"] for one in fingerprints)
    return {"scans": scans, "values": {name: evenly(own, MOST) for name, own in values.items()}}


def _predicted(result: CaseResult) -> dict[str, float]:
    """What was found, whether or not it is right; probabilities weigh by volume."""
    found = {"findings": float(len(result.candidates)), "found_mm3": result.predicted_mm3}
    if not result.candidates:
        return found
    found["largest_mm3"] = max(one.volume_mm3 for one in result.candidates)
    sure = [(one.probability, one.volume_mm3) for one in result.candidates if one.probability is not None]
    if sure:
        found["probability"] = sum(share * volume for share, volume in sure) / sum(volume for _, volume in sure)
    return found
