"""Averaged weights (EMA): steadier than the last step's, and not held back by the first steps of a short training."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning.callbacks import WeightAveraging

Average = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Any], None]


def average_weights(decay: float) -> WeightAveraging:
    """The callback that averages weights after each step and evaluates, saves and exports the average."""
    return WeightAveraging(multi_avg_fn=warm_average(decay))


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
