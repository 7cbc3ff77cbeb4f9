"""The table of findings as a radiologist reads it: size first, then type and place, then what else was measured."""

from collections.abc import Callable, Mapping
from typing import Any

from segpipe.report.tables import DASH, Column, show

Values = Mapping[str, Any]
SINCE = "since the earlier scan"
RATINGS = "predicted ratings of readers"
UNCERTAINTY = "uncertainty (disagreement), bit"
RELIABILITY = "calibrated confidence, volume interval"
_TEXTS = (RELIABILITY, "class", "type", "place", RATINGS, SINCE, "note")
EXPLANATION = (
    "Diameters are those of the axial slice named: the longest, the longest at a right angle to it, and their mean, as "
    "in Lung-RADS v2022; the Fleischner Society (2017) rounds the mean to whole mm. The solid part is what lies above "
    "−300 HU. The type follows from Hounsfield units by a rule and can differ from what a reader sees. Zones are "
    "thirds of the lungs' height. ≥: the lesion reaches the border that the note names, and may go on behind it."
)
FOLLOWED = (
    "Since the earlier scan: volume then and now, and its change with the 95 % interval of measuring it, which is "
    "growth or shrinkage where it does not hold 0. New: the earlier scan shows this place without the lesion. Not seen "
    "before: the earlier scan does not show the place, or is not aligned there. Gone and not covered: likewise here."
)
RATED = (
    "Predicted ratings: the grade that a reader of LIDC would probably give, and the probability of just this one. "
    "They are opinions on an image, that on malignancy as well: no diagnosis and no probability of cancer."
)
RELIED = (
    "Calibrated confidence: the probability that readers' outline and this one have a Dice of at least 0.8, learnt on "
    "patients that the network had not seen. Refer to a human: the outline is among the least sure ones. The interval "
    "holds readers' volume for the share of lesions named."
)
INPUTS = (
    "Size, type and place are inputs of Lung-RADS v2022 and of the Fleischner Society's guideline of 2017. Nothing "
    "here is a category of theirs or a diagnosis."
)


def columns(
    *,
    several_classes: bool,
    relied: bool = False,
    uncertainty: bool = False,
    rated: bool = False,
    followed: bool = False,
) -> list[Column]:
    """The heads of the table."""
    names = [
        *(["class"] if several_classes else []),
        *_COLUMNS,
        *([RELIABILITY] if relied else []),
        *([UNCERTAINTY] if uncertainty else []),
        *([RATINGS] if rated else []),
        *([SINCE] if followed else []),
        "note",
    ]
    return [Column(name, text=name in _TEXTS) for name in names]


def cells(finding: Values, *, several_classes: bool) -> list[str]:
    """One row of the table, in the order of `columns`.

    Args:
        finding: As plain data, with `uncertainty` where that was measured, `ratings` where they were predicted, and
            `since`, what became of it since an earlier scan, where there is one.
        several_classes: Whether its class is named.
    """
    return [
        *([finding["label"]] if several_classes else []),
        *(describe(finding) for describe in _COLUMNS.values()),
        *([_reliability(finding["reliability"])] if "reliability" in finding else []),
        *([_uncertainty(finding["uncertainty"])] if "uncertainty" in finding else []),
        *([_ratings(finding["ratings"])] if "ratings" in finding else []),
        *([finding["since"]] if "since" in finding else []),
        _note(finding),
    ]


def mean_diameter(finding: Values) -> str:
    """The mean diameter, in 0.1 mm."""
    return _at_least(finding, f"{finding['mean_diameter_mm']:.1f}")


def _at_least(finding: Values, size: str) -> str:
    """A size, which is a lower limit where a border cuts the lesion."""
    return f"≥ {size}" if finding["cut_by"] else size


def _note(finding: Values) -> str:
    cut = f"cut by {finding['cut_by']}" if finding["cut_by"] else None
    return "; ".join(filter(None, [cut, finding["slice_note"]]))


def _reliability(known: Values) -> str:
    sure, low, high = (known[name] for name in ("confidence", "volume_low_mm3", "volume_high_mm3"))
    words = [] if sure is None else [f"{100 * sure:.0f} %" + (", refer to a human" if known["refer"] else "")]
    interval = [] if low is None else [f"{low:.0f} to {high:.0f} mm³ ({100 * known['volume_coverage']:.0f} %)"]
    return "; ".join([*words, *interval])


def _uncertainty(known: Values) -> str:
    return f"{show(known['entropy_bits'])} ({show(known['mutual_information_bits'])})"


def _ratings(ratings: Mapping[str, Values]) -> str:
    return ", ".join(
        f"{name} {rating['grade']} {rating['name']}".strip() + f" ({100 * rating['confidence']:.0f} %)"
        for name, rating in ratings.items()
    )


def _diameters(finding: Values) -> str:
    return _at_least(finding, f"{finding['axial_diameter_mm']:.1f} × {finding['perpendicular_diameter_mm']:.1f}")


def _solid_part(finding: Values) -> str:
    if finding["solid_axial_diameter_mm"] is None:
        return DASH
    longest, across = finding["solid_axial_diameter_mm"], finding["solid_perpendicular_diameter_mm"]
    return f"{longest:.1f} × {across:.1f} ({100 * finding['solid_fraction']:.0f} %)"


def _place(finding: Values) -> str:
    zone = {"outside the lungs": "outside the lungs", "unknown": ""}.get(finding["zone"], f"{finding['zone']} zone")
    return ", ".join(filter(None, [finding["side"], zone])) or DASH


def _attenuation(finding: Values) -> str:
    text = f"{finding['mean_hu']:.0f} ({finding['p5_hu']:.0f} to {finding['p95_hu']:.0f})"
    return text.replace("-", "−")


_COLUMNS: dict[str, Callable[[Values], str]] = {
    "mean diameter, mm": mean_diameter,
    "longest × perpendicular, mm": _diameters,
    "volume, mm³": lambda finding: _at_least(finding, f"{finding['volume_mm3']:.0f}"),
    "type": lambda finding: str(finding["nodule_type"]),
    "solid part, mm": _solid_part,
    "place": _place,
    "slice": lambda finding: str(finding["slice_number"]),
    "HU, mean (5 to 95 %)": _attenuation,
    "confidence": lambda finding: show(finding["mean_probability"]),
}
