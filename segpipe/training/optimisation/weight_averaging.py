"""Averaged weights (EMA): steadier than the last step's, and not held back by the first steps of a short training."""

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import WeightAveraging

from segpipe.training.finite_steps import FiniteSteps

Average = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Any], None]


class AveragedWeights(WeightAveraging):
    """Averages weights after each step that was taken; the average is evaluated, saved and exported.

    Args:
        decay: Share of the old average that a step keeps once many steps are averaged.
        steps: Knows which steps were skipped.
    """

    def __init__(self, decay: float, steps: FiniteSteps) -> None:
        super().__init__(multi_avg_fn=warm_average(decay))
        self._steps = steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The step that a resumed run was saved after is averaged already."""
        super().on_train_start(trainer, pl_module)
        self._latest_update_step = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leaves the last step's weights where they are, for the last checkpoint: the average is read from there."""

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After each optimizer step that was not skipped."""
        return step_idx is not None and self._steps.taken


def warm_average(decay: float) -> Average:
    """Exponential moving average whose decay grows as (1 + n) / (10 + n) until it reaches `decay`.

    Args:
        decay: Share of the old average that a step keeps once many steps are averaged.

    Source:
        The warm-up of TensorFlow's `ExponentialMovingAverage(num_updates=…)`.
    """

    @torch.no_grad()
    def update(averaged: Sequence[torch.Tensor], current: Sequence[torch.Tensor], count: Any) -> None:
        weight = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(averaged, current, strict=True):
            if torch.is_floating_point(mean):
                mean.lerp_(value, weight)
            else:  # counters of batch normalisation
                mean.copy_(value)

    return update
