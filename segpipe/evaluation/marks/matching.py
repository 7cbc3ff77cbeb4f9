"""Which marks find a nodule, which are false and which count neither way: the rules of LUNA16's official evaluation."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.detection.froc import FALSE_POSITIVE, Marks, count_by_diameter
from segpipe.evaluation.marks.mark_table import Points
from segpipe.evaluation.marks.reference import MarkReference, group_by_scan
from segpipe.evaluation.strata import diameter_indices
from segpipe.geometry import FloatArray

MOST_MARKS = 100
"""Of a scan; only the most probable marks count."""


@dataclass(frozen=True, eq=False)
class MatchedMarks:
    """What became of marks and nodules.

    Args:
        points: The marks that count: of each scan at most `MOST_MARKS`.
        reference: What they were compared with.
        on_nodule: Whether a mark is on a nodule, (marks,).
        on_ignored: Whether it is on no nodule but on a finding that counts neither way, (marks,).
        hits: How many marks are on each nodule, (nodules,).
        probability: The largest of those, (nodules,); −∞ for a nodule that was missed.
    """

    points: Points
    reference: MarkReference
    on_nodule: NDArray[np.bool_]
    on_ignored: NDArray[np.bool_]
    hits: NDArray[np.int64]
    probability: FloatArray

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether each nodule was found, (nodules,)."""
        return self.hits > 0

    @property
    def false(self) -> NDArray[np.bool_]:
        """Whether each mark is a false positive, (marks,)."""
        return ~self.on_nodule & ~self.on_ignored

    def candidates(self) -> Marks:
        """The points of the FROC: each nodule found with its most probable mark, and the false positives."""
        nodules, false = self.reference.nodules, self.false
        confidence = np.concatenate([self.probability[self.found], self.points.probability[false]])
        order = np.argsort(-confidence, kind="stable")
        scans = np.concatenate([nodules.scan[self.found], self.points.scan[false]])
        sizes = diameter_indices(nodules.diameter_mm[self.found])
        return Marks(
            confidence=confidence[order],
            stratum=np.concatenate([sizes, np.full(false.sum(), FALSE_POSITIVE)])[order],
            case=scans[order],
            lesions_by_diameter=count_by_diameter(nodules.scan, nodules.diameter_mm, len(self.reference.scans)),
        )


def match_marks(points: Points, reference: MarkReference) -> MatchedMarks:
    """Matches marks as LUNA16's official script does.

    - A mark is on a finding when it is nearer to its centre than half its diameter; it may be on several.
    - A nodule with a mark on it is found, as surely as its most probable mark says; further marks on it do not count.
    - A mark on no nodule, but on a finding that counts neither way, is ignored. All others are false positives.
    - Of a scan with more than 100 marks those count that are more probable than the 101st.

    Source:
        Setio et al., Medical Image Analysis 42 (2017), and `noduleCADEvaluationLUNA16.py` of the challenge.
    """
    points = _most_probable(points, len(reference.scans))
    nodules, ignored = reference.nodules, reference.ignored
    on_nodule, on_ignored = (np.zeros(len(points.scan), dtype=np.bool_) for _ in range(2))
    hits, probability = np.zeros(len(nodules), dtype=np.int64), np.full(len(nodules), -np.inf)
    count = len(reference.scans)
    of_scans = zip(group_by_scan(points.scan, count), nodules.of_scans(count), ignored.of_scans(count), strict=True)
    for marks, own, others in of_scans:
        centres = points.centre_mm[marks]
        inside = _inside(centres, nodules.centre_mm[own], nodules.diameter_mm[own])
        on_nodule[marks] = inside.any(axis=1)
        on_ignored[marks] = _inside(centres, ignored.centre_mm[others], ignored.diameter_mm[others]).any(axis=1)
        hits[own] = inside.sum(axis=0)
        sure = np.where(inside, points.probability[marks, np.newaxis], -np.inf)
        probability[own] = sure.max(axis=0, initial=-np.inf)
    return MatchedMarks(points, reference, on_nodule, on_ignored & ~on_nodule, hits, probability)


def _inside(marks: FloatArray, centres: FloatArray, diameters: FloatArray) -> NDArray[np.bool_]:
    """Which marks (n, 3) are nearer to which centres (m, 3) than half the diameter: (n, m)."""
    squared = ((marks[:, np.newaxis] - centres) ** 2).sum(axis=2)
    return np.asarray(squared < (diameters / 2) ** 2)


def _most_probable(points: Points, scans: int) -> Points:
    kept = np.ones(len(points.scan), dtype=np.bool_)
    for marks in group_by_scan(points.scan, scans):
        if len(marks) > MOST_MARKS:
            probability = points.probability[marks]
            kept[marks] = probability > np.partition(probability, -MOST_MARKS - 1)[-MOST_MARKS - 1]
    return Points(points.scan[kept], points.centre_mm[kept], points.probability[kept])
