"""Which predicted lesion belongs to which lesion of the reference, by overlap and by centre."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segpipe.geometry import Grid
from segpipe.lesions import Lesion, label_lesions, measure_lesions
from segpipe.metrics.results import PredictedLesion, ReferenceLesion

MINIMUM_IOU = 0.1


@dataclass(frozen=True, eq=False)
class Components:
    """The numbered lesions of one mask.

    Args:
        numbers: Lesion number of each voxel, 0 = background, (x, y, z).
        lesions: Their measurements, in the order of the numbers.
    """

    numbers: NDArray[np.uint32]
    lesions: list[Lesion]


def find_components(mask: NDArray[np.bool_], grid: Grid) -> Components:
    """Numbers and measures the 26-connected lesions of a mask."""
    numbers, _ = label_lesions(mask)
    return Components(numbers, measure_lesions(numbers, grid))


def match_lesions(
    predicted: Components, reference: Components, *, probability: NDArray[np.floating] | None = None
) -> tuple[tuple[ReferenceLesion, ...], tuple[PredictedLesion, ...]]:
    """Pairs predicted lesions and reference lesions one to one, so that the sum of their IoU is largest.

    Only pairs with an IoU of at least 0.1 count. Centres are judged apart, by the rule of LUNA16: a candidate hits a
    lesion when its centre is nearer to the lesion's centre than half the lesion's longest diameter.

    Args:
        predicted: Lesions of the prediction.
        reference: Lesions of the reference, numbered on an array of the same shape.
        probability: Foreground probability of each voxel; gives each candidate its mean over the candidate's voxels.

    Source:
        Matching as in picai_eval (Saha, Bosma et al., PI-CAI); centres as in Setio et al., LUNA16, Medical Image
        Analysis 42 (2017).
    """
    table = iou_table(predicted, reference)
    pairs = assign(table)
    candidates = _candidates(predicted, reference, probability)
    lesions = [_reference(lesion) for lesion in reference.lesions]
    for row, column in pairs:
        overlap = float(table[row, column])
        lesions[row] = replace(
            lesions[row], matched=column + 1, overlap=overlap, probability=candidates[column].probability
        )
        candidates[column] = replace(candidates[column], matched=row + 1, overlap=overlap)
    return tuple(lesions), tuple(candidates)


def iou_table(predicted: Components, reference: Components) -> NDArray[np.float64]:
    """IoU of every reference lesion (rows) with every predicted lesion (columns)."""
    rows, columns = len(reference.lesions), len(predicted.lesions)
    inside_any = (reference.numbers > 0) | (predicted.numbers > 0)
    codes = reference.numbers[inside_any].astype(np.int64) * (columns + 1) + predicted.numbers[inside_any]
    counts = np.bincount(codes, minlength=(rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    inside = counts[1:, 1:]
    union = counts[1:].sum(axis=1)[:, None] + counts[:, 1:].sum(axis=0)[None, :] - inside
    return np.asarray(inside / np.maximum(union, 1), dtype=np.float64)


def assign(table: NDArray[np.float64], *, minimum: float = MINIMUM_IOU) -> list[tuple[int, int]]:
    """One-to-one pairs (row, column) of largest total, among entries of at least `minimum`."""
    from scipy.optimize import linear_sum_assignment

    allowed = np.where(table >= minimum, table, 0.0)
    pairs = zip(*linear_sum_assignment(allowed, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if allowed[row, column] > 0]


def _candidates(
    predicted: Components, reference: Components, probability: NDArray[np.floating] | None
) -> list[PredictedLesion]:
    means = _mean_probabilities(predicted, probability)
    return [
        PredictedLesion(
            number=lesion.number,
            volume_mm3=lesion.volume_mm3,
            diameter_mm=lesion.longest_diameter_mm,
            centre_mm=lesion.centre_mm,
            probability=mean,
            hits=tuple(other.number for other in reference.lesions if _hits(lesion, other)),
        )
        for lesion, mean in zip(predicted.lesions, means, strict=True)
    ]


def _reference(lesion: Lesion) -> ReferenceLesion:
    return ReferenceLesion(lesion.number, lesion.volume_mm3, lesion.longest_diameter_mm, lesion.centre_mm)


def _hits(candidate: Lesion, lesion: Lesion) -> bool:
    distance = float(np.linalg.norm(np.subtract(candidate.centre_mm, lesion.centre_mm)))
    return distance < lesion.longest_diameter_mm / 2


def _mean_probabilities(predicted: Components, probability: NDArray[np.floating] | None) -> list[float | None]:
    count = len(predicted.lesions)
    if probability is None:
        return [None] * count
    inside = predicted.numbers > 0
    numbers, values = predicted.numbers[inside], probability[inside].astype(np.float64)
    sums = np.bincount(numbers, weights=values, minlength=count + 1)[1:]
    return [float(mean) for mean in sums / np.bincount(numbers, minlength=count + 1)[1:]]
