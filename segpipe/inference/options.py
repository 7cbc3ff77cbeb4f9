"""How a scan is predicted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from segpipe.config.bounds import OVERLAP, Count, Flips, Overlap, check_bounds
from segpipe.inference.operating_point import OperatingPoint
from segpipe.inference.window.region import FindRegion
from segpipe.preprocessing.lungs import lung_mask

MOST_FINDINGS = 1000
"""A network that marks more in one scan has not learned its task; no page or report could show them."""


@dataclass(frozen=True)
class PredictOptions:
    """How a scan is predicted; the result depends on nothing else.

    Args:
        overlap: Part of the window that neighbours share at least, 0 ≤ overlap < 1.
        flips: Axes to mirror (0, 1, 2 of the recipe's orientation); the mean over all subsets counts.
        threshold: Probability from which a voxel is foreground, on the scan's own grid.
        min_volume_mm3: Smaller components are removed.
        min_probability: Lesions with a lower mean probability are removed.
        classes: Name of a class → an operating point of its own.
        confidence: What the model knows of its confidence; see `segpipe.inference.confidence.Confidence`.
        batch: Windows per forward pass; None leaves it to the engine.
        keep_probability: Whether the prediction holds the probability volume.
        uncertainty: How the network is asked how sure it is, see `segpipe.inference.uncertainty.sampling`; None does
            not ask. No mask depends on it.
        region: Finds where lesions can be; windows outside are left out. None, or one that finds
            nothing, searches everywhere.
        most_findings: A scan with more findings is refused before they are measured; None measures any number.
        measure: Whether findings are measured; an evaluation, which measures the mask itself, has no use for them.

    Raises:
        ConfigError: for values out of range.
    """

    overlap: float = OVERLAP
    flips: tuple[int, ...] = ()
    threshold: float = 0.5
    min_volume_mm3: float = 0.0
    min_probability: float = 0.0
    classes: Mapping[str, OperatingPoint] = field(default_factory=dict)
    confidence: Mapping[str, Any] | None = None
    batch: int | None = None
    keep_probability: bool = True
    uncertainty: str | None = None
    region: FindRegion | None = lung_mask
    most_findings: int | None = None
    measure: bool = True

    def __post_init__(self) -> None:
        check_bounds("overlap", self.overlap, Overlap)
        check_bounds("flips", self.flips, Flips)
        check_bounds("batch", self.batch, Count | None)
        self.point.check()

    @classmethod
    def at(cls, point: OperatingPoint, **others: Any) -> "PredictOptions":
        """Options for an operating point, as readers want them; evaluations take any number and the probability."""
        return cls(**vars(point), **{"keep_probability": False, "most_findings": MOST_FINDINGS, **others})

    @classmethod
    def of_model(cls, point: OperatingPoint, stored: Mapping[str, Any], **others: Any) -> "PredictOptions":
        """The same, with the windows and views by which a model's operating point was chosen.

        Args:
            point: The operating point.
            stored: What the model folder has as its operating point, with `overlap` and `flips`.
            **others: What differs, by name; an overlap or flips of None are the model's.
        """
        own = {"overlap": float(stored.get("overlap", OVERLAP)), "flips": tuple(stored.get("flips", ()))}
        asked = {name: value for name, value in others.items() if name not in own or value is not None}
        return cls.at(point, **{**own, **asked})

    @property
    def point(self) -> OperatingPoint:
        """What a lesion must have to be a finding."""
        return OperatingPoint(self.threshold, self.min_volume_mm3, self.min_probability, self.classes, self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """All values by name but the confidence, which is the model's; without `classes` where all are alike."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "confidence"}
        return {name: value for name, value in {**values, **self.point.to_dict()}.items() if name != "classes" or value}
