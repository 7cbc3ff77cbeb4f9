"""Which candidates of a probability volume are lesions of the reference: what FROC and average precision count."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.detection.candidates import Candidates, find_candidates
from segpipe.evaluation.detection.matching import MINIMUM_IOU, Lesions, find_hits, find_lesions
from segpipe.evaluation.measures.foreground_crops import ForegroundCrop, find_foreground_crops
from segpipe.evaluation.results import Detection
from segpipe.geometry import Grid, to_world
from segpipe.lesions import Lesion

Index = NDArray[np.int64]


def detect(
    probability: NDArray[np.floating], reference: Lesions, crops: Sequence[ForegroundCrop], grid: Grid
) -> tuple[Detection, ...]:
    """Finds candidates and matches them; see `match_candidates`.

    Args:
        probability: Of each voxel, (x, y, z).
        reference: The lesions of the reference on `crops`.
        crops: Boxes that hold all of the reference.
        grid: The scan's own grid.
    """
    return match_candidates(find_candidates(probability), reference, crops, grid)


def find_and_match(
    probability: NDArray[np.floating], mask: NDArray[np.bool_], grid: Grid
) -> tuple[Candidates, tuple[Detection, ...], Sequence[Lesion]]:
    """The candidates of a scan, what each is matched with, and the lesions of its reference.

    Args:
        probability: Of each voxel, (x, y, z).
        mask: The reference.
        grid: The scan's own grid.
    """
    crops = find_foreground_crops(np.zeros_like(mask), mask, grid)
    reference = find_lesions([crop.reference for crop in crops], crops)
    candidates = find_candidates(probability)
    return candidates, match_candidates(candidates, reference, crops, grid), reference.measured


def match_candidates(
    candidates: Candidates, reference: Lesions, crops: Sequence[ForegroundCrop], grid: Grid
) -> tuple[Detection, ...]:
    """Matches candidates with lesions, most confident first, so that less confident ones change nothing.

    By overlap each candidate gets the lesion that none before it has and that it overlaps best, with an IoU of at least
    0.1; by centre see `match_lesions`.

    Args:
        candidates: The candidates of a scan.
        reference: The lesions of the reference on `crops`.
        crops: Boxes that hold all of the reference.
        grid: The scan's own grid.
    """
    lesion_of_voxel = _reference_at(candidates.voxels, reference, crops)
    matched = _match(candidates, lesion_of_voxel, reference.voxel_counts)
    hits = find_hits(to_world(grid.affine, candidates.centres), reference.measured)
    return tuple(
        Detection(confidence, lesion or None, numbers)
        for confidence, lesion, numbers in zip(candidates.confidence.tolist(), matched.tolist(), hits, strict=True)
    )


def _reference_at(voxels: Index, reference: Lesions, crops: Sequence[ForegroundCrop]) -> Index:
    """Number of the reference lesion at each voxel (n, 3); 0 outside all of them."""
    found = np.zeros(len(voxels), dtype=np.int64)
    for numbers, crop in zip(reference.numbers, crops, strict=True):
        if not crop.reference.any():
            continue
        places = voxels - [axis.start for axis in crop.box]
        inside = ((places >= 0) & (places < numbers.shape)).all(axis=1)
        found[inside] = numbers[tuple(places[inside].T)]
    return found


def _match(candidates: Candidates, lesion_of_voxel: Index, lesion_voxels: Index) -> Index:
    """Number of the lesion that each candidate is matched with, 0 for none."""
    width = len(lesion_voxels) + 1
    both = lesion_of_voxel > 0
    pairs, shared = np.unique(candidates.owner[both] * width + lesion_of_voxel[both], return_counts=True)
    candidate, lesion = pairs // width, pairs % width
    iou = shared / (candidates.voxel_counts[candidate] + lesion_voxels[lesion - 1] - shared)
    matched, taken = np.zeros(len(candidates.confidence), dtype=np.int64), set[int]()
    for index in np.lexsort((-iou, candidate)):
        wanted = int(lesion[index])
        if iou[index] >= MINIMUM_IOU and not matched[candidate[index]] and wanted not in taken:
            matched[candidate[index]] = wanted
            taken.add(wanted)
    return matched
