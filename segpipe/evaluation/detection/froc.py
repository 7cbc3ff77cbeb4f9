"""How many lesions are found at how many false alarms: FROC, CPM and average precision."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.results import CaseResult, group_by_hit
from segpipe.geometry import FloatArray

FP_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
Rule = Literal["overlap", "centre"]
RULES: tuple[Rule, ...] = ("overlap", "centre")


@dataclass(frozen=True, eq=False)
class Marks:
    """The candidates of a data set, most confident first.

    Args:
        confidence: Mean probability of each candidate, (n,).
        true: Whether it is a lesion of the reference, (n,).
        case: Index of its case, (n,).
        lesions: Reference lesions of each case, (cases,).
    """

    confidence: FloatArray
    true: NDArray[np.bool_]
    case: NDArray[np.int64]
    lesions: NDArray[np.int64]


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
    return Marks(
        confidence=np.array([confidence for confidence, _, _ in rows], dtype=np.float64),
        true=np.array([true for _, true, _ in rows], dtype=np.bool_),
        case=np.array([index for _, _, index in rows], dtype=np.int64),
        lesions=np.array([len(result.lesions) for result in results], dtype=np.int64),
    )


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


def _marks_of(result: CaseResult, rule: Rule) -> list[tuple[float | None, bool]]:
    if rule == "overlap":
        return [(mark.probability, mark.matched is not None) for mark in result.marks]
    alarms = [(mark.probability, False) for mark in result.marks if not mark.hits]
    inside = sorted(group_by_hit(result.marks).items())
    return [*alarms, *((_most_confident([mark.probability for mark in marks]), True) for _, marks in inside)]


def _most_confident(values: Sequence[float | None]) -> float | None:
    """The largest of them; None when any is not known."""
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None
