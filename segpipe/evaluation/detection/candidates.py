"""What a detector could have meant by a probability volume: places that stand out, each with its peak as confidence."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.detection.basins import find_basins, join_basins

LEAST_CONFIDENCE = 0.01
"""Peaks below it are no candidates; PI-CAI's extraction ends there, too."""
PART_OF_PEAK = 0.4
"""How far a candidate reaches, in parts of its peak; PI-CAI's dynamic threshold."""
SAME_CANDIDATE = 2 / 3
"""Two peaks are one candidate where the way between them stays above this part of the lower one."""
MOST_CANDIDATES = 1000
"""Of a scan; in up to 120 scans more than 8 for each of them."""
MOST_VOXELS = 1_000_000
"""Of a scan; a lesion of 60 ml has 100,000 at 0.7×0.7×1.25 mm."""

Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Places that stand out, most confident first.

    Args:
        confidence: Largest probability of each, (n,).
        voxels: Indices of their voxels in the volume, (m, 3).
        owner: The candidate of each voxel, (m,).
    """

    confidence: NDArray[np.float64]
    voxels: Index
    owner: Index

    @property
    def voxel_counts(self) -> Index:
        """Voxels of each."""
        return np.bincount(self.owner, minlength=len(self.confidence))

    @property
    def centres(self) -> NDArray[np.float64]:
        """Mean index of each, (n, 3)."""
        sums = [np.bincount(self.owner, axis, minlength=len(self.confidence)) for axis in self.voxels.T]
        return np.asarray(np.stack(sums, axis=1) / self.voxel_counts[:, np.newaxis])


def find_candidates(probability: NDArray[np.floating]) -> Candidates:
    """Finds the peaks of a probability volume and what belongs to each.

    A candidate reaches from its peak as far as the probability stays at 40 % of it, as in the dynamic extraction of
    PI-CAI. Two peaks are two candidates where every way between them falls to two thirds of the lower one; each voxel
    then belongs to the peak that leads uphill from it. So neighbours stay apart however low one looks, and the fringe
    of a lesion is no candidate of its own.

    Peaks below a probability of 0.01 are no candidates; of the others the 1000 most confident count, among the million
    most probable voxels of the scan, so that the cost stays bounded where a network marks everything.

    Source:
        Bosma et al., Semi-supervised learning with report-guided pseudo labels, Radiology: AI 5 (2023); picai_eval.
    """
    found = _most_probable(probability, PART_OF_PEAK * LEAST_CONFIDENCE)
    values = probability[tuple(found.T)].astype(np.float64)
    order = np.argsort(values, kind="stable")
    found, values = found[order], values[order]
    if not len(found) or values[-1] < LEAST_CONFIDENCE:
        return Candidates(np.zeros(0), np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64))
    basins = find_basins(found, values)
    group, linked = join_basins(basins, part_of_peak=PART_OF_PEAK, same=SAME_CANDIDATE)
    tops = np.unique(group)[::-1]
    chosen = tops[basins.peak[tops] >= LEAST_CONFIDENCE][:MOST_CANDIDATES]
    number = np.full(len(basins.peak), -1, dtype=np.int64)
    number[chosen] = np.arange(len(chosen))
    owner = np.where(linked, number[group], -1)[basins.of_voxel]
    inside = (owner >= 0) & (values >= PART_OF_PEAK * basins.peak[group][basins.of_voxel])
    return Candidates(basins.peak[chosen], found[inside], owner[inside])


def _most_probable(probability: NDArray[np.floating], least: float) -> Index:
    """Indices (n, 3) of the voxels with at least a probability; of more than `MOST_VOXELS` the most probable ones."""
    values = probability[probability >= least]
    if len(values) <= MOST_VOXELS:
        return np.argwhere(probability >= least)
    limit = np.partition(values, -MOST_VOXELS)[-MOST_VOXELS]
    above, equal = np.flatnonzero(probability > limit), np.flatnonzero(probability == limit)
    places = np.concatenate([above, equal[: MOST_VOXELS - len(above)]])
    return np.stack(np.unravel_index(np.sort(places), probability.shape), axis=1)
