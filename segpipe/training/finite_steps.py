"""Steps without a finite loss and gradient, and spikes, are skipped, so that weights stay; many in a row end it all."""

import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm

from segpipe.errors import TrainingError
from segpipe.training.gradient_spikes import GradientSpikes

_ON_INFINITE = "training.clip_norm=1 or trainer.precision=32-true"
_ON_SPIKES = "or training.spike_factor=null, which takes every finite step"
log = logging.getLogger(__name__)


class FiniteSteps(pl.Callback):
    """Skips optimizer steps without a finite loss and gradient or with a spike, counts them, logs the gradient's norm.

    A skipped step counts as a step of the schedule; weights, running statistics of norms, the optimizer's state and
    averaged weights stay. All ranks skip together. With `16-mixed` the scale of the loss is found by steps that
    overflow: they are skipped, too, as torch does, but are no fault and are not counted as long as the scale can fall.

    Args:
        most: Skipped steps in a row that end the training.
        every: Steps between two points of `train/grad_norm` and, once there are any, of `train/skipped_steps` and
            `train/gradient_spikes`.
        spikes: Says which gradients are spikes.
    """

    def __init__(self, *, most: int, every: int, spikes: GradientSpikes | None = None) -> None:
        self.most = most
        self.every = every
        self.spikes = spikes or GradientSpikes(None)
        self.skipped = 0
        self.spiked = 0
        self.in_a_row = 0
        self.taken = True
        self._losses: list[torch.Tensor] = []
        self._statistics: list[torch.Tensor] = []
        self.norm = 0.0
        self._what, self._hint = "", _ON_INFINITE

    def state_dict(self) -> dict[str, Any]:
        """What was counted, so that a resumed run goes on counting, and the norms that it compares with."""
        counts = {"skipped": self.skipped, "spiked": self.spiked, "in_a_row": self.in_a_row}
        return {**counts, "norms": list(self.spikes.norms)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the counts and norms of the run that is resumed."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]
        self.spiked = state_dict.get("spiked", 0)
        self.spikes.norms.extend(state_dict.get("norms", []))

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keeps the running statistics of batch norms, which a batch changes before its loss is known."""
        if not self._losses:  # the first batch of a step
            self._statistics = [buffer.clone() for buffer in _statistics(pl_module)]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: torch.Tensor) -> None:
        """Remembers the loss of each batch that the step accumulates."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Takes the gradients away where something is wrong with them: torch's optimizers then change nothing.

        Raises:
            TrainingError: after too many of such steps in a row.
        """
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        self.norm = float(get_total_norm(gradients))
        of_loss = all(bool(loss.isfinite().all()) for loss in self._losses)
        self._losses = []
        agree = trainer.strategy.reduce_boolean_decision
        finite = agree(of_loss and math.isfinite(self.norm))
        spike = finite and agree(self.spikes.holds(self.norm), all=False)
        self.taken = finite and not spike
        if self.taken:
            self.in_a_row = 0
            self.spikes.norms.append(self.norm)
            return
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(_statistics(pl_module), self._statistics, strict=True):
            buffer.copy_(before)
        if spike:
            self.spiked += 1
            times = self.norm / self.spikes.usual
            self._skip(trainer, f"gradient is {times:.0f} times as large as usual", _ON_SPIKES)
        elif not agree(of_loss and _finds_scale(trainer)):
            self._skip(trainer, f"{'gradient' if of_loss else 'loss'} is not finite", _ON_INFINITE)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Logs the norm of the last gradient, before it is clipped, and the numbers of skipped steps and of spikes."""
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches
        if accumulating or trainer.global_step % self.every or not trainer.logger:
            return
        points = {"train/grad_norm": self.norm} if math.isfinite(self.norm) else {}
        counts = {"train/skipped_steps": self.skipped, "train/gradient_spikes": self.spiked}
        points |= {name: float(count) for name, count in counts.items() if count}
        if points:
            trainer.logger.log_metrics(points, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Refuses to hand over weights that nothing finite can be computed with.

        Raises:
            TrainingError: when weights are not finite, or more than the last step (a scale that was tried) was skipped.
        """
        sound = self.in_a_row <= 1 and weights_are_finite(pl_module)
        if not trainer.strategy.reduce_boolean_decision(sound):
            raise self._error(trainer)

    def is_sound(self, module: torch.nn.Module) -> bool:
        """Whether weights are worth keeping: they are numbers, and the last step was not skipped."""
        return self.taken and weights_are_finite(module)

    def _skip(self, trainer: pl.Trainer, what: str, hint: str) -> None:
        self.skipped += 1
        self.in_a_row += 1
        self._what, self._hint = what, hint
        if self.in_a_row == 1:
            log.warning("step %d is skipped, because its %s", trainer.global_step + 1, what)
        if self.in_a_row >= self.most:
            raise self._error(trainer)

    def _error(self, trainer: pl.Trainer) -> TrainingError:
        rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        return TrainingError(
            f"the training diverged: the {self._what if self.in_a_row else 'weights are not finite'}",
            facts={
                "step": f"{trainer.global_step + 1}, where {self.in_a_row} in a row were skipped",
                "lr": f"{rate:.3g}",
                "precision": trainer.precision,
            },
            hint=f"optimizer.lr={rate / 10:.0e}, {self._hint}; "
            "resume=true goes on from the last good checkpoint, if there is one",
        )


def _finds_scale(trainer: pl.Trainer) -> bool:
    """Whether the scale of the loss (`16-mixed`) can still fall, so that a gradient that overflows says nothing."""
    scaler: torch.amp.GradScaler | None = getattr(trainer.precision_plugin, "scaler", None)
    return scaler is not None and scaler.get_scale() > 1


def weights_are_finite(module: torch.nn.Module) -> bool:
    """Whether all weights and running statistics of a network are numbers."""
    parameters = (parameter.detach() for parameter in module.parameters())
    own = [weight.to_local() if isinstance(weight, DTensor) else weight for weight in parameters]  # shards, or all
    weights = [*own, *_statistics(module)]
    return bool(torch.stack([weight.isfinite().all() for weight in weights]).all())


def _statistics(module: torch.nn.Module) -> list[torch.Tensor]:
    return [buffer for buffer in module.buffers() if buffer.is_floating_point()]
