"""Whether the probability of a voxel is right, from counts that cases can be pooled by; and the temperature."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segpipe.evaluation.calibration.reliability import BINS
from segpipe.evaluation.measures.foreground_crops import Box, ForegroundCrop
from segpipe.evaluation.results import VoxelCounts
from segpipe.geometry import FloatArray, Grid

MARGIN_MM = 5.0
"""Around the foreground of both masks; farther away a network is right about the background, and says little by it."""
EDGES = np.concatenate([[0, 1e-4, 1e-3], np.arange(1, 100) / 100, [1 - 1e-3, 1 - 1e-4]])
"""Lower edges of the bins: a hundredth each, and finer where a network is nearly sure."""
_GROUP = np.minimum(np.floor(EDGES * BINS + 1e-9).astype(int), BINS - 1)
HOTTEST = 10.0
"""Temperatures are searched between a tenth and this."""


def count_voxels(probability: NDArray[np.floating], crops: Sequence[ForegroundCrop], grid: Grid) -> VoxelCounts | None:
    """Counts the voxels of the boxes around the foreground of both masks, `MARGIN_MM` larger on each side.

    Where two boxes meet, a voxel counts in both.

    Args:
        probability: Of the foreground, (x, y, z) on the scan's own grid.
        crops: The boxes, with the reference in them.
        grid: The scan's own.

    Returns:
        The counts; None where neither mask has foreground.
    """
    if not crops:
        return None
    counted = np.zeros((3, len(EDGES)))
    for crop in crops:
        box, inside = _grow(crop, grid)
        values = np.asarray(probability[box], dtype=np.float64).ravel()
        bins = np.clip(np.searchsorted(EDGES, values, side="right") - 1, 0, None)
        for row, weights in enumerate((None, inside.ravel(), values)):
            counted[row] += np.bincount(bins, weights, minlength=len(EDGES))
    count, positive = counted[:2].astype(int).tolist()
    return VoxelCounts(tuple(count), tuple(positive), tuple(counted[2].tolist()))


def stack_counts(counts: Sequence[VoxelCounts]) -> FloatArray:
    """Count, positive and total of each case and bin, (cases, 3, bins)."""
    rows = [(each.count, each.positive, each.total) for each in counts]
    return np.array(rows, dtype=np.float64).reshape(-1, 3, len(EDGES))


def voxel_error(counts: FloatArray, weights: FloatArray) -> FloatArray:
    """Expected calibration error in ten bins of the probability, of weighted cases.

    Args:
        counts: See `stack_counts`.
        weights: (resamples, cases).

    Source:
        Naeini et al., AAAI 2015, 2901–2907.
    """
    _, cases = weights.shape
    by_group = np.add.reduceat(counts, np.flatnonzero(np.diff(_GROUP, prepend=-1)), axis=2)
    pooled = (weights @ by_group.reshape(cases, -1)).reshape(len(weights), 3, -1)
    return np.asarray(np.abs(pooled[:, 2] - pooled[:, 1]).sum(axis=1) / pooled[:, 0].sum(axis=1))


def heat(counts: FloatArray, temperature: float) -> FloatArray:
    """The same voxels with their log odds divided by a temperature; each bin's mean probability stands for all of it.

    Args:
        counts: See `stack_counts`; of any number of cases.
        temperature: Above 1 the probabilities become less extreme.
    """
    count, positive, total = np.asarray(counts).sum(axis=0)
    warmer = _temper(total / np.maximum(count, 1), temperature)
    moved = np.zeros((1, 3, len(EDGES)))
    bins = np.clip(np.searchsorted(EDGES, warmer, side="right") - 1, 0, None)
    for row, values in enumerate((count, positive, warmer * count)):
        np.add.at(moved[0, row], bins, values)
    return moved


def fit_temperature(counts: FloatArray) -> float | None:
    """The temperature with the least negative log-likelihood; None where all voxels are of one kind.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv 1706.04599.
    """
    from scipy.optimize import minimize_scalar

    count, positive, total = np.asarray(counts).sum(axis=0)
    if not 0 < positive.sum() < count.sum():
        return None
    mean = total / np.maximum(count, 1)

    def loss(log_temperature: float) -> float:
        own = np.clip(_temper(mean, math.exp(log_temperature)), 1e-12, 1 - 1e-12)
        return float(-(positive * np.log(own) + (count - positive) * np.log1p(-own)).sum() / count.sum())

    found = minimize_scalar(loss, bounds=(-math.log(HOTTEST), math.log(HOTTEST)), method="bounded")
    return float(math.exp(found.x))


def _temper(probability: FloatArray, temperature: float) -> FloatArray:
    inside = np.clip(probability, 1e-7, 1 - 1e-7)
    odds = np.log(inside / (1 - inside)) / temperature
    return np.asarray(1 / (1 + np.exp(-odds)))


def _grow(crop: ForegroundCrop, grid: Grid) -> tuple[Box, NDArray[np.bool_]]:
    """A box with its margin, as far as the scan goes, and the reference in it."""
    pads = []
    for edge, length, spacing in zip(crop.box, grid.shape, grid.spacing_mm, strict=True):
        voxels = math.ceil(MARGIN_MM / spacing)
        pads.append((min(voxels, edge.start), min(voxels, length - edge.stop)))
    x, y, z = (
        slice(edge.start - before, edge.stop + after) for edge, (before, after) in zip(crop.box, pads, strict=True)
    )
    return (x, y, z), np.pad(crop.reference, pads)
