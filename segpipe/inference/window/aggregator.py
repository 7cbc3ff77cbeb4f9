"""Brings probability slices of a frame back to the scan's own grid; thresholds them there, tells their entropy."""

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.inference.window.grid import InferenceGrid, interpolate_plane, neighbours
from segpipe.preprocessing.resampling import orient

Foreground = list[tuple[int, NDArray[np.float32]]]
"""Slice of the oriented scan → probabilities of its foreground voxels, row by row."""
ENTROPY_STEPS = 250
"""Steps per bit in which the entropy is kept: a byte per voxel."""
_SURELY_NOT = 1e-4


class Aggregator:
    """Paints a mask on the scan's grid from slices that arrive in order.

    Args:
        inference_grid: The box that the slices come from.
        like: The scan's array; the mask gets its memory layout.
        threshold: Probability from which a voxel is foreground.
        keep_probability: Whether the whole probability volume is kept, float32 on the scan's grid.
        keep_entropy: Whether the entropy of the probability is kept, uint8 in steps of 1/`ENTROPY_STEPS` bit.
    """

    def __init__(
        self,
        inference_grid: InferenceGrid,
        like: NDArray[np.generic],
        *,
        threshold: float,
        keep_probability: bool = False,
        keep_entropy: bool = False,
    ) -> None:
        self.mask = np.zeros_like(like, dtype=np.uint8, subok=False)
        self.probability = np.zeros_like(like, dtype=np.float32, subok=False) if keep_probability else None
        self.entropy = np.zeros_like(like, dtype=np.uint8, subok=False) if keep_entropy else None
        self.foreground: Foreground = []
        self._threshold = threshold
        self._least = min(threshold, _SURELY_NOT) if keep_entropy else threshold
        self._rows, self._row_positions = inference_grid.box_positions(0)
        self._columns, self._column_positions = inference_grid.box_positions(1)
        self._mask = orient(self.mask, inference_grid.preparation)
        self._probability = None if self.probability is None else orient(self.probability, inference_grid.preparation)
        self._entropy = None if self.entropy is None else orient(self.entropy, inference_grid.preparation)
        self._ready = _slices_by_need(inference_grid)
        self._kept: dict[int, torch.Tensor] = {}

    def add(self, number: int, probability_xy: torch.Tensor) -> None:
        """Takes slice `number` of the frame and paints the scan's slices that need nothing beyond it."""
        self._kept = {index: plane for index, plane in self._kept.items() if index == number - 1}
        self._kept[number] = probability_xy
        for scan_slice, lower, upper, weight in self._ready.get(number, []):
            self._paint(scan_slice, torch.lerp(self._kept[lower], self._kept[upper], weight))

    def _paint(self, scan_slice: int, plane: torch.Tensor) -> None:
        if self._probability is None and not bool((plane >= self._least).any()):
            return
        values = interpolate_plane(plane, [self._row_positions, self._column_positions]).numpy()
        inside = values >= self._threshold
        self._mask[self._rows, self._columns, scan_slice] = inside
        if self._probability is not None:
            self._probability[self._rows, self._columns, scan_slice] = values
        if self._entropy is not None:
            self._entropy[self._rows, self._columns, scan_slice] = np.rint(binary_entropy(values) * ENTROPY_STEPS)
        if inside.any():
            self.foreground.append((scan_slice, values[inside]))


def binary_entropy(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Entropy of a yes-or-no answer in bits: 0 where it is sure, 1 where both are as likely.

    >>> binary_entropy(np.array([0.0, 0.5, 1.0], np.float32)).tolist()
    [0.0, 1.0, 0.0]
    """
    inside = np.clip(probability, 1e-7, 1 - 1e-7)
    bits = -inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)
    return np.asarray(np.where((probability <= 0) | (probability >= 1), 0, bits), dtype=np.float32)


def _slices_by_need(inference_grid: InferenceGrid) -> dict[int, list[tuple[int, int, int, float]]]:
    """Frame slice → the scan's slices (number, lower, upper, weight) that can be painted once it has arrived."""
    numbers, positions = inference_grid.box_positions(2)
    ready: dict[int, list[tuple[int, int, int, float]]] = {}
    for scan_slice, position in zip(range(numbers.start, numbers.stop), positions.tolist(), strict=True):
        lower, upper, weight = neighbours(position, inference_grid.size[2])
        ready.setdefault(upper if weight else lower, []).append((scan_slice, lower, upper if weight else lower, weight))
    return ready
