"""What is known of one evaluated case: plain data that travels between processes and into tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

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
class Detection:
    """A place that stands out in the probability volume, whether or not the operating point shows it.

    Args:
        probability: The largest of its voxels: its confidence.
        matched: Number of the reference lesion that it overlaps enough, one to one, or None for a false positive.
        hits: Numbers of the reference lesions within whose radius its centre lies (the rule of LUNA16).
    """

    probability: float
    matched: int | None = None
    hits: tuple[int, ...] = ()


@dataclass(frozen=True)
class PredictedLesion:
    """A lesion of the prediction.

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


Mark = TypeVar("Mark", bound=Detection | PredictedLesion)


@dataclass(frozen=True)
class VoxelCounts:
    """Voxels near the foreground by their probability; see `segpipe.evaluation.calibration.voxels`.

    Args:
        count: Voxels of each bin.
        positive: Those of them that the reference calls foreground.
        total: Sum of their probabilities.
    """

    count: tuple[int, ...]
    positive: tuple[int, ...]
    total: tuple[float, ...]


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
        detections: The candidates of the FROC, most confident first; None where no probability volume is known or
            nothing was searched for, and the lesions of the prediction take their place.
        voxels: Whether the probability is right near the foreground; None where it is not known.
        scan: What the scan itself measures; see `segpipe.preprocessing.scan_profile`; empty where it was not asked.
        scan_digest: Of the scan as it was read; see `segpipe.preprocessing.scan_digest`; None where none was read.
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
    detections: tuple[Detection, ...] | None = None
    voxels: VoxelCounts | None = None
    scan: Mapping[str, float] = field(default_factory=dict)
    scan_digest: str | None = None

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

    @property
    def marks(self) -> Sequence[Detection | PredictedLesion]:
        """The candidates of the FROC."""
        return self.candidates if self.detections is None else self.detections


def group_by_hit(marks: Sequence[Mark]) -> dict[int, list[Mark]]:
    """Number of a reference lesion → the marks whose centre lies within its radius; only those with any."""
    hits: dict[int, list[Mark]] = {}
    for mark in marks:
        for number in mark.hits:
            hits.setdefault(number, []).append(mark)
    return hits
