"""Voxel overlap of two masks, with a stated answer for empty ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segpipe.evaluation.measures.foreground_crops import ForegroundCrop
from segpipe.evaluation.results import Empty

OVERLAP_FIGURES = ("dice", "iou", "precision", "recall", "f1", "volume_error_pct")


@dataclass(frozen=True)
class Overlap:
    """Voxel counts of a prediction against a reference.

    Args:
        tp: Voxels in both masks.
        fp: Voxels in the prediction only.
        fn: Voxels in the reference only.
    """

    tp: int
    fp: int
    fn: int

    @property
    def empty(self) -> Empty:
        """Which of the two masks have no voxel at all."""
        reference, prediction = self.tp + self.fn == 0, self.tp + self.fp == 0
        if reference and prediction:
            return "both"
        return "reference" if reference else "prediction" if prediction else "no"

    def figures(self) -> dict[str, float | None]:
        """Dice, IoU, precision, recall, F1 (which for voxels is Dice) and the signed volume error in per cent.

        Without a voxel in the reference all of them are undefined (None), because any false voxel would score 0 and
        none at all 0/0; such cases are counted apart. When only the prediction is empty, overlaps are 0 and the
        volume error is −100 %.

        Source:
            Maier-Hein, Reinke et al., Metrics Reloaded, Nature Methods 21 (2024), on empty references.

        >>> Overlap(tp=2, fp=1, fn=1).figures()["iou"]
        0.5
        """
        reference, predicted = self.tp + self.fn, self.tp + self.fp
        if reference == 0:
            return dict.fromkeys(OVERLAP_FIGURES)
        dice = 2 * self.tp / (reference + predicted)
        return {
            "dice": dice,
            "iou": self.tp / (reference + self.fp),
            "precision": self.tp / predicted if predicted else 0.0,
            "recall": self.tp / reference,
            "f1": dice,
            "volume_error_pct": 100.0 * (predicted - reference) / reference,
        }


def count_overlap(crops: Sequence[ForegroundCrop]) -> Overlap:
    """Counts the voxels of two masks."""
    tp = sum(int(np.count_nonzero(crop.prediction & crop.reference)) for crop in crops)
    predicted = sum(int(np.count_nonzero(crop.prediction)) for crop in crops)
    reference = sum(int(np.count_nonzero(crop.reference)) for crop in crops)
    return Overlap(tp, predicted - tp, reference - tp)
