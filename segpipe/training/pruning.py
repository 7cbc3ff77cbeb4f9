"""Ends a training that lies clearly behind another one of the same seed at the same step."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl

from segpipe.training.checkpoints.saving import MONITOR


class StopsBehind(pl.Callback):
    """Ends the training after a validation whose pseudo-Dice lies far below what was reached before at that step.

    Both have seen the same patches, so the difference is not that of the data.

    Args:
        reached: The best pseudo-Dice so far by step.
        after: The step before which nothing is ended; the last validation ends nothing either.
        margin: How far below.
    """

    def __init__(self, *, reached: Mapping[int, float], after: float, margin: float) -> None:
        self.reached = {int(step): float(figure) for step, figure in reached.items()}
        self.after = after
        self.margin = margin

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Compares."""
        step, figure = trainer.global_step, float(trainer.callback_metrics[MONITOR])
        if self.after <= step < trainer.max_steps and figure < self.reached.get(step, -1.0) - self.margin:
            trainer.should_stop = True
