"""Averaged weights, steadier than the last step: an average of ours (EMA), or the one that an optimizer has itself."""

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


class OwnAverage(AveragedWeights):
    """Evaluates, saves and exports the averaged weights that an optimizer has itself, as schedule-free ones have.

    They are asked for by `eval()` and taken away by `train()`, which gives back what was there but for rounding. So
    the weights that are learnt are kept meanwhile, and a run that is resumed goes on with them to the bit.
    """

    def __init__(self) -> None:
        WeightAveraging.__init__(self)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Says that steps follow, which some want to hear before the first."""
        super().on_train_start(trainer, pl_module)
        trainer.optimizers[0].train()  # type: ignore[attr-defined]

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Never: it is asked for when it is needed."""
        return False

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Puts the averaged weights in the place of those that are learnt."""
        self._ask(trainer, pl_module)
        super().on_validation_epoch_start(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Saves both."""
        self._ask(trainer, pl_module)
        super().on_save_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _ask(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        optimizer: Any = trainer.optimizers[0]
        learnt = [weight.detach().clone() for weight in module.parameters()]
        optimizer.eval()
        self._average_model.module.load_state_dict(module.state_dict())  # type: ignore[union-attr]
        optimizer.train()
        for weight, value in zip(module.parameters(), learnt, strict=True):
            weight.copy_(value)


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
