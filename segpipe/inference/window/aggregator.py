"""Brings probability slices of a frame back to the scan's own grid; decides the classes there."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.inference.window.decision import decide_classes, label_plane
from segpipe.inference.window.grid import InferenceGrid, interpolate_plane, neighbours
from segpipe.inference.window.uncertainty_maps import EXTRA_PLANES, UncertaintyMaps, in_steps
from segpipe.labels import LabelMap
from segpipe.preprocessing.resampling import orient

Foreground = list[tuple[int, NDArray[np.float32]]]
"""Slice of the oriented scan → probabilities of its foreground voxels, row by row."""
_SURELY_NOT = 1e-4


class Aggregator:
    """Paints a mask on the scan's grid from slices that arrive in order.

    Args:
        inference_grid: The box that the slices come from.
        like: The scan's array; the mask gets its memory layout.
        thresholds: Probability from which a voxel belongs to a class, for each class.
        labels: The classes.
        keep_probability: Whether the probability volume of each class is kept, float32 on the scan's grid.
        uncertain: Whether the slices say how sure the network is, in `EXTRA_PLANES` more planes; see
            `segpipe.inference.uncertainty.sampling.Sampling`.
        keep_box: Whether the probabilities within the box are kept for `repaint`.

    Attributes:
        mask: The label map.
        box: The part of the scan that can be painted.
        foregrounds: For each class the probabilities of its voxels.
        maps: How sure the network is, if it says so.
        boxes: For each class, and for each plane more, the values of the scan's voxels in the box, along the scan's own
            axes; none when they are not kept.
    """

    def __init__(
        self,
        inference_grid: InferenceGrid,
        like: NDArray[np.generic],
        *,
        thresholds: Sequence[float],
        labels: LabelMap,
        keep_probability: bool = False,
        uncertain: bool = False,
        keep_box: bool = False,
    ) -> None:
        self.mask = np.zeros_like(like, dtype=np.uint8, subok=False)
        self.probabilities = [
            np.zeros_like(like, dtype=np.float32, subok=False) for _ in thresholds if keep_probability
        ]
        self.maps = UncertaintyMaps.empty(like) if uncertain else None
        self.box = inference_grid.scan_box
        self.foregrounds: list[Foreground] = [[] for _ in thresholds]
        self._thresholds, self._labels = thresholds, labels
        self._least = min(min(thresholds) / len(thresholds), _SURELY_NOT if uncertain else 1.0)
        self._rows, self._row_positions = inference_grid.box_positions(0)
        self._columns, self._column_positions = inference_grid.box_positions(1)
        self._mask = orient(self.mask, inference_grid.preparation)
        self._probabilities = [orient(volume, inference_grid.preparation) for volume in self.probabilities]
        maps = (self.maps.entropy, self.maps.information) if self.maps else ()
        self._maps = [orient(volume, inference_grid.preparation) for volume in maps]
        self._ready = _slices_by_need(inference_grid)
        planes = len(thresholds) + EXTRA_PLANES * uncertain
        self.boxes = [np.zeros(inference_grid.covered.shape, np.float32) for _ in range(planes) if keep_box]
        self._preparation, self._first = inference_grid.preparation, inference_grid.box_positions(2)[0].start
        self._kept: dict[int, Sequence[torch.Tensor]] = {}

    def add(self, number: int, probabilities_xy: Sequence[torch.Tensor]) -> None:
        """Takes the classes' slice `number` of the frame and paints the scan's slices that need nothing beyond it."""
        self._kept = {index: planes for index, planes in self._kept.items() if index == number - 1}
        self._kept[number] = probabilities_xy
        for scan_slice, lower, upper, weight in self._ready.get(number, []):
            between = zip(self._kept[lower], self._kept[upper], strict=True)
            self._paint(scan_slice, [torch.lerp(below, above, weight) for below, above in between])

    def repaint(self, boxes: Sequence[NDArray[np.float32]]) -> None:
        """Paints all voxels of the scan in the box, instead of slice by slice.

        Args:
            boxes: The values of each plane, as in the attribute of this name.
        """
        self.boxes = list(boxes)
        oriented = [np.asarray(orient(box, self._preparation), dtype=np.float32) for box in boxes]
        for number in range(oriented[0].shape[2]):
            self._decide(self._first + number, [box[:, :, number] for box in oriented])

    def revise(self, change: Callable[[NDArray[np.float32]], None]) -> None:
        """Changes the kept probabilities behind the decision on the mask; its voxels get their new ones.

        Args:
            change: Changes the probabilities of a class in place.
        """
        for number, volume in enumerate(self.probabilities):
            change(volume)
            members = orient(self._labels.class_mask(self.mask, number), self._preparation)
            self.foregrounds[number] = [
                (place, self._probabilities[number][:, :, place][members[:, :, place]])
                for place, _ in self.foregrounds[number]
            ]

    def confine(self, within: NDArray[np.bool_]) -> None:
        """Leaves no class and no probability outside a part of the box.

        Args:
            within: The part, true on the voxels of the box, along the scan's own axes.
        """
        outside = np.ones(self.mask.shape, np.bool_)
        np.logical_not(within, out=outside[self.box])
        leaves = orient(outside, self._preparation)
        for number, foreground in enumerate(self.foregrounds):
            members = orient(self._labels.class_mask(self.mask, number), self._preparation)
            for index, (place, values) in enumerate(foreground):  # slice by slice, so that none is there twice
                gone = leaves[:, :, place][members[:, :, place]]
                if gone.any():
                    foreground[index] = (place, values[~gone])
            self.foregrounds[number] = [(place, values) for place, values in foreground if len(values)]
        self.mask[outside] = 0
        for volume in self.probabilities:
            volume[outside] = 0

    def _paint(self, scan_slice: int, planes: Sequence[torch.Tensor]) -> None:
        kept = self._probabilities or self.boxes
        if not kept and not any(bool((plane >= self._least).any()) for plane in planes):
            return
        positions = [self._row_positions, self._column_positions]
        values = [interpolate_plane(plane, positions).numpy() for plane in planes]
        for box, plane in zip(self.boxes, values, strict=False):
            orient(box, self._preparation)[:, :, scan_slice - self._first] = plane
        self._decide(scan_slice, values)

    def _decide(self, scan_slice: int, values: Sequence[NDArray[np.float32]]) -> None:
        values, doubts = values[: len(self._thresholds)], values[len(self._thresholds) :]
        inside = decide_classes(values, self._thresholds, self._labels)
        here = (self._rows, self._columns, scan_slice)
        self._mask[here] = label_plane(inside, self._labels)
        for volume, plane in zip(self._probabilities, values, strict=False):
            volume[here] = plane
        for volume, steps in zip(self._maps, in_steps(*doubts) if doubts else (), strict=True):
            volume[here] = steps
        for kept, plane, where in zip(self.foregrounds, values, inside, strict=True):
            if where.any():
                kept.append((scan_slice, plane[where]))


def _slices_by_need(inference_grid: InferenceGrid) -> dict[int, list[tuple[int, int, int, float]]]:
    """Frame slice → the scan's slices (number, lower, upper, weight) that can be painted once it has arrived."""
    numbers, positions = inference_grid.box_positions(2)
    ready: dict[int, list[tuple[int, int, int, float]]] = {}
    for scan_slice, position in zip(range(numbers.start, numbers.stop), positions.tolist(), strict=True):
        lower, upper, weight = neighbours(position, inference_grid.size[2])
        ready.setdefault(upper if weight else lower, []).append((scan_slice, lower, upper if weight else lower, weight))
    return ready
