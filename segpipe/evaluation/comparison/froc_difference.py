"""Sensitivity along the FROC before and after: of all lesions, and of those of each diameter."""

from collections.abc import Mapping
from typing import Any

from segpipe.evaluation.reading import Evaluation

ALL = "all"
Froc = Mapping[str, Any]


def compare_froc(first: Evaluation, second: Evaluation) -> dict[str, dict[str, Any]]:
    """Sets the sensitivities that two summaries hold side by side; empty unless both are of the same cases.

    Tables of evaluations hold no candidates, so that these differences have neither intervals nor p-values.

    Returns:
        For each rule of matching and each diameter (`all` for all lesions) the `lesions`, and under `first`, `second`
        and `difference` a sensitivity for each rate of false positives per scan, and their mean (`cpm`).
    """
    if {row["case"] for row in first.cases} != {row["case"] for row in second.cases}:
        return {}
    one, other = (evaluation.summary.get("detection") or {} for evaluation in (first, second))
    return {rule: _by_diameter(one[rule], other[rule]) for rule in one if rule in other}


def _by_diameter(first: Froc, second: Froc) -> dict[str, Any]:
    one, other = ({ALL: froc, **froc.get("by_diameter", {})} for froc in (first, second))
    return {diameter: _difference(one[diameter], other[diameter]) for diameter in one if diameter in other}


def _difference(first: Froc, second: Froc) -> dict[str, Any]:
    one, other = ({**froc["sensitivity_at_fp_per_scan"], "cpm": froc["cpm"]} for froc in (first, second))
    difference = {rate: other[rate] - one[rate] for rate in one}
    return {"lesions": first.get("lesions"), "first": one, "second": other, "difference": difference}
