"""A window slides over a scan, and what the network says is painted on the scan's own grid, slice by slice."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.case import Case, Volume
from segpipe.inference.confidence import Confidence
from segpipe.inference.engines.device_memory import CPU, FittingBatches, choose_place, release_memory
from segpipe.inference.engines.engine import Engine
from segpipe.inference.options import PredictOptions
from segpipe.inference.stage_timer import StageTimer
from segpipe.inference.uncertainty.sampling import Sampling
from segpipe.inference.window.aggregator import Aggregator
from segpipe.inference.window.grid import InferenceGrid, SliceReader
from segpipe.inference.window.region import windows_in
from segpipe.inference.window.sliding import Run, Sliding, Wanted, predict_flipped, slide
from segpipe.inference.window.uncertainty_maps import EXTRA_PLANES
from segpipe.preprocessing.recipe import Recipe


@dataclass(frozen=True)
class Painting:
    """What is slid over a scan, and what of it is painted on the scan's grid.

    `keep_box` as for `Aggregator`, `region` as for `windows_in`; without one every window is run.
    """

    case: Case
    recipe: Recipe
    engine: Engine
    options: PredictOptions
    inference_grid: InferenceGrid
    timer: StageTimer
    keep_box: bool = False
    region: Volume | None = None

    def paint(self) -> Aggregator:
        """Paints where there is room for a layer of windows: on the network's device, or else on the CPU."""
        place = choose_place(self.engine, self.inference_grid.layer_bytes(self._planes))
        if place.type != "cpu":
            with suppress(torch.OutOfMemoryError):
                return self._paint_at(place)
            release_memory()
        return self._paint_at(CPU)

    def repaint(self, boxes: Sequence[NDArray[np.float32]]) -> Aggregator:
        """Paints what is at hand; see `Aggregator.repaint`."""
        aggregator = self._aggregator()
        aggregator.repaint(boxes)
        return aggregator

    def _paint_at(self, place: torch.device) -> Aggregator:
        """Slides over the box and paints each slice on the scan's grid as soon as it is final."""
        options, grid = self.options, self.inference_grid
        aggregator = self._aggregator()
        batch = options.batch or int(getattr(self.engine, "batch", 1))
        sliding = Sliding(grid.window, options.overlap, batch, self._planes, place)
        planes = slide(self._reader(), grid.size, sliding, self._network(), wanted=self._wanted())
        for number, probabilities_xy in enumerate(planes):
            with self.timer.stage("way back"):
                aggregator.add(number, probabilities_xy)
            self.timer.advance(number + 1, grid.size[2])
        return aggregator

    @property
    def _planes(self) -> int:
        """Values of each voxel."""
        return len(self.recipe.label_map.classes) + EXTRA_PLANES * bool(self.options.uncertainty)

    def _aggregator(self) -> Aggregator:
        labels = self.recipe.label_map
        return Aggregator(
            self.inference_grid,
            self.case.image,
            thresholds=[self.options.point.of(label.name).threshold for label in labels.classes],
            labels=labels,
            keep_probability=self.options.keep_probability,
            uncertain=bool(self.options.uncertainty),
            keep_box=self.keep_box,
        )

    def _reader(self) -> Callable[[int], torch.Tensor]:
        reader = SliceReader(self.case.image, self.inference_grid, self.recipe)

        def read(number: int) -> torch.Tensor:
            with self.timer.stage("preparation"):
                return reader.read(number)

        return read

    def _network(self) -> Run:
        flips, method = self.options.flips, self.options.uncertainty
        known = Confidence.of(self.options.confidence) or Confidence()
        labels = self.recipe.label_map
        sampling = Sampling(self.engine, method, labels, flips, temperature=known.temperature) if method else None
        fitting = FittingBatches(sampling or (lambda patches: predict_flipped(self.engine, patches, flips)))

        def run(patches_bcxyz: torch.Tensor) -> torch.Tensor:
            with self.timer.stage("network"):
                return fitting(patches_bcxyz)

        return run

    def _wanted(self) -> Wanted | None:
        with self.timer.stage("region"):
            return windows_in(self.region, self.inference_grid) if self.region else None
