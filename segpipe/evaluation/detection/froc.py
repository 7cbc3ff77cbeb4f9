"""How many lesions are found at how many false alarms: FROC, CPM and average precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.results import CaseResult, group_by_hit
from segpipe.evaluation.strata import DIAMETERS_MM, diameter_indices
from segpipe.geometry import FloatArray

FP_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
Rule = Literal["overlap", "centre"]
RULES: tuple[Rule, ...] = ("overlap", "centre")
FALSE_POSITIVE = -1


@dataclass(frozen=True, eq=False)
class Marks:
    """The candidates of a data set, most confident first.

    Args:
        confidence: Mean probability of each candidate, (n,).
        stratum: Index of the diameter of the lesion that it is in `DIAMETERS_MM`, −1 for a false positive, (n,).
        case: Index of its case, (n,).
        lesions_by_diameter: Reference lesions of each case in each stratum, (cases, strata).
    """

    confidence: FloatArray
    stratum: NDArray[np.int64]
    case: NDArray[np.int64]
    lesions_by_diameter: NDArray[np.int64]

    @cached_property
    def true(self) -> NDArray[np.bool_]:
        """Whether each candidate is a lesion of the reference, (n,)."""
        return np.asarray(self.stratum != FALSE_POSITIVE)

    @cached_property
    def lesions(self) -> NDArray[np.int64]:
        """Reference lesions of each case, (cases,)."""
        return np.asarray(self.lesions_by_diameter.sum(axis=1))


@dataclass(frozen=True, eq=False)
class Curve:
    """A FROC curve: what happens when only candidates of at least a confidence count.

    Args:
        threshold: Confidences, falling, (points,).
        tp: Lesions found.
        fp: False alarms.
        lesions: Lesions in all.
        scans: Scans in all.
    """

    threshold: FloatArray
    tp: FloatArray
    fp: FloatArray
    lesions: float
    scans: float

    @property
    def sensitivity(self) -> FloatArray:
        """Part of the lesions found at each threshold; NaN without lesions."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.tp / self.lesions)

    @property
    def fp_per_scan(self) -> FloatArray:
        """False alarms per scan at each threshold."""
        return self.fp / self.scans

    def sensitivity_at(self, rates: Sequence[float] | FloatArray = FP_RATES) -> FloatArray:
        """Sensitivity at rates of false alarms per scan.

        As in LUNA16's evaluation, points are joined by straight lines, the first one with (0, 0), and beyond the last
        point the curve is flat.
        """
        fp, sensitivity = (np.concatenate([[0.0], values]) for values in (self.fp_per_scan, self.sensitivity))
        return np.asarray(np.interp(rates, fp, sensitivity))

    @property
    def average_precision(self) -> float:
        """Sum of precision times gain in recall, step by step, over the candidates that there are."""
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(self.tp / (self.tp + self.fp))
        return float(np.sum(np.diff(self.sensitivity, prepend=0.0) * precision))


def collect_marks(results: Sequence[CaseResult], rule: Rule) -> Marks | None:
    """Gathers the marks of all cases; None when the confidence of any of them is not known.

    By `overlap` a candidate is true when it has a counterpart of its own. By `centre` the most confident candidate
    inside a lesion's radius stands for the lesion, further ones there count neither way, and a candidate inside none is
    a false alarm, as in LUNA16.
    """
    rows = [(*mark, index) for index, result in enumerate(results) for mark in _marks_of(result, rule)]
    if any(confidence is None for confidence, _, _ in rows):
        return None
    rows.sort(key=lambda row: -(row[0] or 0.0))
    lesions = [(index, lesion.diameter_mm) for index, result in enumerate(results) for lesion in result.lesions]
    return Marks(
        confidence=np.array([confidence for confidence, _, _ in rows], dtype=np.float64),
        stratum=np.array([stratum for _, stratum, _ in rows], dtype=np.int64),
        case=np.array([index for _, _, index in rows], dtype=np.int64),
        lesions_by_diameter=count_by_diameter(
            np.array([index for index, _ in lesions], dtype=np.int64), [size for _, size in lesions], len(results)
        ),
    )


def count_by_diameter(
    case: NDArray[np.int64], diameters_mm: Sequence[float] | FloatArray, cases: int
) -> NDArray[np.int64]:
    """How many lesions of each diameter each of `cases` cases has, (cases, strata).

    Args:
        case: Index of the case of each lesion, (n,).
        diameters_mm: Of each lesion.
        cases: How many there are.
    """
    counts = np.zeros((cases, len(DIAMETERS_MM)), dtype=np.int64)
    np.add.at(counts, (case, diameter_indices(diameters_mm)), 1)
    return counts


def froc_curve(marks: Marks, weights: FloatArray | None = None) -> Curve:
    """The FROC curve over all distinct confidences.

    Args:
        marks: The candidates.
        weights: How often each case counts, (cases,); once by default.
    """
    weight = np.ones(len(marks.lesions)) if weights is None else weights
    counts = weight[marks.case]
    last = np.flatnonzero(np.diff(marks.confidence, append=-np.inf))
    return Curve(
        threshold=marks.confidence[last],
        tp=np.cumsum(counts * marks.true)[last],
        fp=np.cumsum(counts * ~marks.true)[last],
        lesions=float(weight @ marks.lesions),
        scans=float(weight.sum()),
    )


def froc_figures(marks: Marks, weights: FloatArray) -> FloatArray:
    """Sensitivities at the seven rates, their mean (CPM) and average precision for each row of weights.

    Args:
        marks: The candidates.
        weights: How often each case counts, (rows, cases).

    Returns:
        (rows, 9); NaN without lesions.
    """
    curves = (froc_curve(marks, row) for row in weights)
    rows = [(curve.sensitivity_at(), curve.average_precision) for curve in curves]
    return np.array([[*sensitivity, sensitivity.mean(), precision] for sensitivity, precision in rows])


def _marks_of(result: CaseResult, rule: Rule) -> list[tuple[float | None, int]]:
    """Confidence and stratum of each mark of a case."""
    sizes = diameter_indices([lesion.diameter_mm for lesion in result.lesions]).tolist()
    stratum = dict(zip((lesion.number for lesion in result.lesions), sizes, strict=True))
    if rule == "overlap":
        lesions = [(mark.probability, mark.matched) for mark in result.marks]
        return [(probability, FALSE_POSITIVE if lesion is None else stratum[lesion]) for probability, lesion in lesions]
    alarms = [(mark.probability, FALSE_POSITIVE) for mark in result.marks if not mark.hits]
    inside = sorted(group_by_hit(result.marks).items())
    best = [(_most_confident([mark.probability for mark in marks]), stratum[lesion]) for lesion, marks in inside]
    return [*alarms, *best]


def _most_confident(values: Sequence[float | None]) -> float | None:
    """The largest of them; None when any is not known."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
