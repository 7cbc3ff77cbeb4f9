"""Which lesions a reader gets to see: the model's own operating point, or another one of its stored FROC curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from segpipe.errors import ConfigError, ModelError

Curve = Sequence[Mapping[str, float]]
FIELDS = ("threshold", "min_volume_mm3", "min_probability")
_FLAGS = {
    "sensitivity": "--sensitivity",
    "fp_per_scan": "--fp-per-scan",
    "threshold": "--threshold",
    "min_volume_mm3": "--min-volume",
}


@dataclass(frozen=True)
class OperatingPoint:
    """What a lesion must have to be a finding.

    Args:
        threshold: Probability from which a voxel is foreground; of several classes see `decide_classes`.
        min_volume_mm3: Smaller lesions leave.
        min_probability: Lesions with a lower mean probability are removed.
        classes: Name of a class → what its lesions must have instead.
        confidence: What the model knows of the confidence of such findings, as its folder has it; None where it knows
            nothing, or nothing of this threshold.
    """

    threshold: float = 0.5
    min_volume_mm3: float = 0.0
    min_probability: float = 0.0
    classes: Mapping[str, "OperatingPoint"] = field(default_factory=dict)
    confidence: Mapping[str, Any] | None = None

    def check(self) -> None:
        """Refuses values out of range.

        Raises:
            ConfigError: with the value.
        """
        for name, rule, holds in (
            ("threshold", "0 < threshold < 1", 0 < self.threshold < 1),
            ("min_volume_mm3", "not negative", self.min_volume_mm3 >= 0),
            ("min_probability", "0 ≤ min_probability ≤ 1", 0 <= self.min_probability <= 1),
        ):
            if not holds:
                raise ConfigError(f"{name} must be: {rule}", facts={"found": getattr(self, name)})
        for point in self.classes.values():
            point.check()

    def of(self, label: str) -> "OperatingPoint":
        """What lesions of one class must have."""
        return self.classes.get(label, self)

    def of_any_size(self) -> "OperatingPoint":
        """The same thresholds for lesions of any size and confidence."""
        return OperatingPoint(self.threshold, classes={name: at.of_any_size() for name, at in self.classes.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain data; without `classes` where all have the same."""
        values = {name: getattr(self, name) for name in FIELDS}
        classes = {name: point.to_dict() for name, point in self.classes.items()}
        return {**values, "classes": classes} if classes else values


@dataclass(frozen=True)
class OperatingPointRequest:
    """What the user asks of the operating point; None leaves it to the model.

    Args:
        threshold: See `OperatingPoint`.
        min_volume_mm3: See `OperatingPoint`.
        sensitivity: Part of the lesions to be found at least.
        fp_per_scan: False findings per scan at most.
    """

    threshold: float | None = None
    min_volume_mm3: float | None = None
    sensitivity: float | None = None
    fp_per_scan: float | None = None


def choose_point(stored: Mapping[str, Any], wish: OperatingPointRequest) -> OperatingPoint:
    """The operating point for a wish.

    Args:
        stored: From the model folder: the fields of `OperatingPoint`, and `froc`, points of the curve by lesion
            confidence, measured at these threshold and volume on cases that the network was not trained on; of several
            classes the same for each, under `classes`.
        wish: What the user asks for.

    Raises:
        ConfigError: for contradicting wishes, or one that the stored curve does not reach.
        ModelError: when the model folder holds no curve.
    """
    _check(wish)
    classes = {name: _choose(of_class, wish) for name, of_class in stored.get("classes", {}).items()}
    # another threshold draws other outlines, of which nothing was measured
    known = stored.get("confidence") if wish.threshold in (None, stored.get("threshold", 0.5)) else None
    if classes and (wish.sensitivity is not None or wish.fp_per_scan is not None):
        return OperatingPoint(classes=classes, confidence=known)
    return replace(_choose(stored, wish), classes=classes, confidence=known)


def _choose(stored: Mapping[str, Any], wish: OperatingPointRequest) -> OperatingPoint:
    """The operating point of one class."""
    own = OperatingPoint(
        float(stored.get("threshold", 0.5)),
        float(stored.get("min_volume_mm3", 0.0)),
        float(stored.get("min_probability", 0.0)),
    )
    if wish.sensitivity is not None:
        return replace(own, min_probability=_for_sensitivity(_curve(stored), wish.sensitivity))
    if wish.fp_per_scan is not None:
        return replace(own, min_probability=_for_fp(_curve(stored), wish.fp_per_scan))
    if wish.threshold is not None:
        own = replace(own, threshold=wish.threshold)
    return own if wish.min_volume_mm3 is None else replace(own, min_volume_mm3=wish.min_volume_mm3)


def _check(wish: OperatingPointRequest) -> None:
    by_curve = [name for name in ("sensitivity", "fp_per_scan") if getattr(wish, name) is not None]
    by_hand = [name for name in ("threshold", "min_volume_mm3") if getattr(wish, name) is not None]
    if len(by_curve) == 2 or (by_curve and by_hand):
        raise ConfigError(
            "only one wish for the operating point at a time",
            facts={"found": " and ".join(_FLAGS[name] for name in (*by_curve, *by_hand))},
            hint="the stored curve holds for the model's own threshold and smallest volume alone",
        )
    if wish.sensitivity is not None and not 0 < wish.sensitivity <= 1:
        raise ConfigError("a sensitivity lies in 0…1", facts={"found": wish.sensitivity})
    if wish.fp_per_scan is not None and wish.fp_per_scan < 0:
        raise ConfigError("false findings per scan cannot be negative", facts={"found": wish.fp_per_scan})


def _for_sensitivity(curve: Curve, wanted: float) -> float:
    enough = [point["threshold"] for point in curve if point["sensitivity"] >= wanted]
    if enough:
        return float(max(enough))
    best = max(point["sensitivity"] for point in curve)
    raise ConfigError(
        "the model does not reach this sensitivity",
        facts={"wanted": f"{wanted:g}", "best": f"{best:.3f} on its stored curve"},
    )


def _for_fp(curve: Curve, allowed: float) -> float:
    enough = [point["threshold"] for point in curve if point["fp_per_scan"] <= allowed]
    if enough:
        return float(min(enough))
    best = min(point["fp_per_scan"] for point in curve)
    raise ConfigError(
        "the model has more false findings at every point of its stored curve",
        facts={"wanted": f"at most {allowed:g} per scan", "best": f"{best:.3f} per scan"},
    )


def _curve(stored: Mapping[str, Any]) -> Curve:
    curve = stored.get("froc") or []
    if not curve:
        raise ModelError(
            "the model folder holds no FROC curve to choose a point of",
            hint="use --threshold and --min-volume instead",
        )
    return list(curve)
