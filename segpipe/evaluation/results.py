"""What is known of one evaluated case: plain data that travels between processes and into tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Empty = Literal["no", "both", "reference", "prediction"]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class ReferenceLesion:
    """A lesion of the reference and what the prediction made of it.

    Args:
        number: 1 for the largest of the case.
        volume_mm3: Its volume.
        diameter_mm: Its longest diameter.
        centre_mm: Its centroid in RAS+ mm.
        matched: Number of the predicted lesion that overlaps it enough, one to one, or None when it was missed.
        overlap: IoU with the matched lesion, 0 when missed; None where the reference is a sphere.
        probability: Mean probability of the matched lesion; None when missed or not known.
    """

    number: int
    volume_mm3: float
    diameter_mm: float
    centre_mm: Point
    matched: int | None = None
    overlap: float | None = 0.0
    probability: float | None = None


@dataclass(frozen=True)
class PredictedLesion:
    """A lesion of the prediction, a candidate of the FROC.

    Args:
        number: 1 for the largest of the case.
        volume_mm3: Its volume.
        diameter_mm: Its longest diameter.
        centre_mm: Its centroid in RAS+ mm.
        matched: Number of the reference lesion that it overlaps enough, one to one, or None for a false positive.
        overlap: IoU with the matched lesion, 0 without one.
        probability: Mean probability over its voxels, or None when only a mask was given.
        hits: Numbers of the reference lesions within whose radius its centre lies (the rule of LUNA16).
    """

    number: int
    volume_mm3: float
    diameter_mm: float
    centre_mm: Point
    matched: int | None = None
    overlap: float = 0.0
    probability: float | None = None
    hits: tuple[int, ...] = ()


@dataclass(frozen=True)
class CaseResult:
    """The figures of one case.

    Args:
        case: Its id.
        patient: Groups the cases that are resampled together.
        empty: Which masks have no foreground: `no`, `both`, only the `reference` or only the `prediction`.
        figures: Name → value; None where the figure is undefined.
        reference_mm3: Volume of the reference mask.
        predicted_mm3: Volume of the predicted mask.
        lesions: The lesions of the reference.
        candidates: The lesions of the prediction.
        extra: Further facts of the case, for strata.
        classes: Where there are several classes: the figures of each, by name; the others are of all classes together.
    """

    case: str
    patient: str
    empty: Empty
    figures: Mapping[str, float | None]
    reference_mm3: float
    predicted_mm3: float
    lesions: tuple[ReferenceLesion, ...] = ()
    candidates: tuple[PredictedLesion, ...] = ()
    extra: Mapping[str, Any] | None = None
    classes: Mapping[str, "CaseResult"] = field(default_factory=dict)

    @property
    def true_positives(self) -> int:
        """Reference lesions that were found."""
        return sum(lesion.matched is not None for lesion in self.lesions)

    @property
    def false_negatives(self) -> int:
        """Reference lesions that were missed."""
        return len(self.lesions) - self.true_positives

    @property
    def false_positives(self) -> int:
        """Predicted lesions without a counterpart."""
        return sum(candidate.matched is None for candidate in self.candidates)

    def by_class(self) -> dict[str, "CaseResult"]:
        """The results to list lesion by lesion: each class where there are several, else this one without a name."""
        return dict(self.classes) or {"": self}

    def candidates_by_centre(self) -> dict[int, list[PredictedLesion]]:
        """Number of a reference lesion → the candidates whose centre lies within its radius; only those with any."""
        hits: dict[int, list[PredictedLesion]] = {}
        for candidate in self.candidates:
            for number in candidate.hits:
                hits.setdefault(number, []).append(candidate)
        return hits
