"""Which predicted lesion belongs to which lesion of the reference, by overlap and by centre."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.measures.foreground_crops import ForegroundCrop
from segpipe.evaluation.results import Point, PredictedLesion, ReferenceLesion
from segpipe.geometry import FloatArray
from segpipe.lesions import Lesion, find_components, measure_components

MINIMUM_IOU = 0.1


@dataclass(frozen=True, eq=False)
class Lesions:
    """The lesions of one mask, numbered from 1, largest first.

    Args:
        numbers: For each crop the lesion number of each voxel, 0 = background, (x, y, z).
        measured: The lesions in the order of their numbers.
        voxel_counts: Voxels of each lesion.
    """

    numbers: list[NDArray[np.int64]]
    measured: list[Lesion]
    voxel_counts: NDArray[np.int64]


def find_lesions(masks: Sequence[NDArray[np.bool_]], crops: Sequence[ForegroundCrop]) -> Lesions:
    """Numbers and measures the 26-connected lesions of a mask that is given crop by crop.

    Lesions of one size are numbered by place, so that the numbers do not depend on the other mask.
    """
    numbers: list[NDArray[np.int64]] = []
    found: list[Lesion] = []
    counts: list[int] = []
    for mask, crop in zip(masks, crops, strict=True):
        components = find_components(mask)
        inside = np.zeros(mask.shape, dtype=np.int64)
        labelled = components.numbers
        inside[components.box] = np.where(labelled > 0, labelled.astype(np.int64) + len(found), 0)
        numbers.append(inside)
        found += measure_components(components, crop.grid)
        counts += components.voxel_counts
    places = [tuple(round(axis, 3) for axis in lesion.centre_mm) for lesion in found]
    order = np.array(sorted(range(len(found)), key=lambda index: (-counts[index], places[index])), dtype=np.int64)
    rank = np.zeros(len(found) + 1, dtype=np.int64)
    rank[order + 1] = np.arange(1, len(found) + 1)
    measured = [replace(found[index], number=number) for number, index in enumerate(order, start=1)]
    return Lesions([rank[inside] for inside in numbers], measured, np.asarray(counts, dtype=np.int64)[order])


def match_lesions(
    predicted: Lesions, reference: Lesions, *, probability: Sequence[NDArray[np.floating]] | None = None
) -> tuple[tuple[ReferenceLesion, ...], tuple[PredictedLesion, ...]]:
    """Pairs predicted lesions and reference lesions one to one: as many as possible, then with the largest sum of IoU.

    Only pairs with an IoU of at least 0.1 count. Centres are evaluated apart, by the rule of LUNA16: a candidate hits a
    lesion when its centre is nearer to the lesion's centre than half the lesion's longest diameter.

    Args:
        predicted: Lesions of the prediction.
        reference: Lesions of the reference, on the same crops.
        probability: Foreground probability of each voxel of each crop; gives each candidate its mean over the
            candidate's voxels.

    Source:
        Matching as in picai_eval (Saha, Bosma et al., PI-CAI); centres as in Setio et al., LUNA16, Medical Image
        Analysis 42 (2017).
    """
    candidates = _candidates(predicted, reference, probability)
    lesions = [
        ReferenceLesion(lesion.number, lesion.volume_mm3, lesion.longest_diameter_mm, lesion.centre_mm)
        for lesion in reference.measured
    ]
    for row, column, overlap in assign(*overlaps(predicted, reference)):
        confidence = candidates[column].probability
        lesions[row] = replace(lesions[row], matched=column + 1, overlap=overlap, probability=confidence)
        candidates[column] = replace(candidates[column], matched=row + 1, overlap=overlap)
    return tuple(lesions), tuple(candidates)


def overlaps(
    predicted: Lesions, reference: Lesions
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The pairs that share voxels: index of the reference lesion, index of the predicted lesion, their IoU."""
    columns = len(predicted.measured) + 1
    codes = [
        wanted[both] * columns + given[both]
        for given, wanted in zip(predicted.numbers, reference.numbers, strict=True)
        if (both := (given > 0) & (wanted > 0)).any()
    ]
    if not codes:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros(0)
    pairs, shared = np.unique(np.concatenate(codes), return_counts=True)
    rows, cols = pairs // columns - 1, pairs % columns - 1
    union = reference.voxel_counts[rows] + predicted.voxel_counts[cols] - shared
    return rows, cols, shared / union


def find_hits(centres_mm: Sequence[Point] | FloatArray, lesions: Sequence[Lesion]) -> list[tuple[int, ...]]:
    """For each centre the numbers of the lesions whose radius, half the longest diameter, it lies within."""
    from scipy.spatial import KDTree

    hits: list[list[int]] = [[] for _ in centres_mm]
    if hits:
        centres = np.asarray(centres_mm)
        tree = KDTree(centres)
        for lesion in lesions:
            radius = lesion.longest_diameter_mm / 2
            near = np.array(tree.query_ball_point(lesion.centre_mm, radius * (1 + 1e-9)), dtype=np.int64)
            inside = np.linalg.norm(centres[near] - np.array(lesion.centre_mm), axis=1) < radius
            for index in near[inside]:
                hits[index].append(lesion.number)
    return [tuple(numbers) for numbers in hits]


def assign(
    rows: NDArray[np.int64], columns: NDArray[np.int64], iou: NDArray[np.float64], *, minimum: float = MINIMUM_IOU
) -> list[tuple[int, int, float]]:
    """One-to-one pairs (row, column, IoU) of at least `minimum`: the most pairs, and of these the largest total."""
    enough = iou >= minimum
    rows, columns, iou = rows[enough], columns[enough], iou[enough]
    groups = _separate(rows, columns)
    return sorted(pair for group in groups for pair in _solve(rows[group], columns[group], iou[group]))


def _separate(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices of the pairs of each group of lesions that no overlap connects with another group.

    Groups are small, and one table each takes little memory where one for all would grow with the square of the count.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(rows):
        return []
    first_column = int(rows.max()) + 1
    nodes = first_column + int(columns.max()) + 1
    graph = coo_array((np.ones(len(rows)), (rows, first_column + columns)), shape=(nodes, nodes))
    group = connected_components(graph, directed=False)[1][rows]
    order = np.argsort(group, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)


def _solve(
    rows: NDArray[np.int64], columns: NDArray[np.int64], iou: NDArray[np.float64]
) -> list[tuple[int, int, float]]:
    """The best one-to-one pairs (row, column, IoU) of one group."""
    from scipy.optimize import linear_sum_assignment

    known_rows, row_of = np.unique(rows, return_inverse=True)
    known_columns, column_of = np.unique(columns, return_inverse=True)
    table = np.zeros((len(known_rows), len(known_columns)))
    table[row_of, column_of] = iou
    pairs = zip(*linear_sum_assignment(table + (table > 0), maximize=True), strict=True)
    return [(int(known_rows[r]), int(known_columns[c]), float(table[r, c])) for r, c in pairs if table[r, c] > 0]


def _candidates(
    predicted: Lesions, reference: Lesions, probability: Sequence[NDArray[np.floating]] | None
) -> list[PredictedLesion]:
    means = _mean_probabilities(predicted, probability)
    hits = find_hits([lesion.centre_mm for lesion in predicted.measured], reference.measured)
    return [
        PredictedLesion(
            number=lesion.number,
            volume_mm3=lesion.volume_mm3,
            diameter_mm=lesion.longest_diameter_mm,
            centre_mm=lesion.centre_mm,
            probability=mean,
            hits=hit,
        )
        for lesion, mean, hit in zip(predicted.measured, means, hits, strict=True)
    ]


def _mean_probabilities(
    predicted: Lesions, probability: Sequence[NDArray[np.floating]] | None
) -> list[float] | list[None]:
    if probability is None:
        return [None] * len(predicted.measured)
    sums = np.zeros(len(predicted.measured) + 1)
    for numbers, values in zip(predicted.numbers, probability, strict=True):
        inside = numbers > 0
        sums += np.bincount(numbers[inside], weights=values[inside], minlength=len(sums))
    return [float(mean) for mean in sums[1:] / predicted.voxel_counts]
