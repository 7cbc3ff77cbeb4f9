"""A step whose loss or gradient is not finite is skipped, so that weights stay; many in a row end the training."""

import logging
import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.utils import get_total_norm

from segpipe.errors import TrainingError

log = logging.getLogger(__name__)


class FiniteSteps(pl.Callback):
    """Skips optimizer steps without a finite loss and gradient, counts them, and logs the gradient's norm.

    A skipped step counts as a step of the schedule; weights, running statistics of norms, the optimizer's state and
    averaged weights stay. All ranks skip together. With `16-mixed` the scale of the loss is found by such steps, which
    torch skips as well.

    Args:
        most: Skipped steps in a row that end the training.
        every: Steps between two points of `train/grad_norm` and, once there are any, of `train/skipped_steps`.
    """

    def __init__(self, *, most: int, every: int) -> None:
        self.most = most
        self.every = every
        self.skipped = 0
        self.in_a_row = 0
        self._losses: list[torch.Tensor] = []
        self._statistics: list[torch.Tensor] = []
        self._norm = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The number of skipped steps, so that a resumed run goes on counting."""
        return {"skipped": self.skipped, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the count of the run that is resumed."""
        self.skipped, self.in_a_row = state_dict["skipped"], state_dict["in_a_row"]

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Keeps the running statistics of batch norms, which a batch changes before its loss is known."""
        if not self._losses:  # the first batch of a step
            self._statistics = [buffer.clone() for buffer in _statistics(pl_module)]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: Any, loss: torch.Tensor) -> None:
        """Remembers the loss of each batch that the step accumulates."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Takes the gradients away where they or the loss are not finite: torch's optimizers then change nothing.

        Raises:
            TrainingError: after too many of such steps in a row.
        """
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        self._norm = float(get_total_norm(gradients))
        of_loss = all(bool(loss.isfinite().all()) for loss in self._losses)
        self._losses = []
        if trainer.strategy.reduce_boolean_decision(of_loss and math.isfinite(self._norm), all=True):
            self.in_a_row = 0
        else:
            optimizer.zero_grad(set_to_none=True)
            for buffer, before in zip(_statistics(pl_module), self._statistics, strict=True):
                buffer.copy_(before)
            self._skip(trainer, optimizer, "gradient" if of_loss else "loss")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Logs the norm of the last gradient, before it is clipped, and the number of skipped steps."""
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches
        if accumulating or trainer.global_step % self.every or not trainer.logger:
            return
        points = {"train/grad_norm": self._norm} if not self.in_a_row else {}
        skipped = {"train/skipped_steps": float(self.skipped)} if self.skipped else {}
        if points or skipped:
            trainer.logger.log_metrics({**points, **skipped}, trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Refuses to hand over weights that nothing finite can be computed with.

        Raises:
            TrainingError: when weights are not finite, or more than the last step (a scale that was tried) was skipped.
        """
        sound = self.in_a_row <= 1 and weights_are_finite(pl_module)
        if not trainer.strategy.reduce_boolean_decision(sound):
            raise self._error(trainer, trainer.optimizers[0], "loss")

    def is_sound(self, module: torch.nn.Module) -> bool:
        """Whether weights are worth keeping: they are numbers, and the last step was not skipped."""
        return self.in_a_row == 0 and weights_are_finite(module)

    def _skip(self, trainer: pl.Trainer, optimizer: torch.optim.Optimizer, what: str) -> None:
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == 1:
            log.warning("step %d is skipped, because its %s is not finite", trainer.global_step + 1, what)
        if self.in_a_row >= self.most:
            raise self._error(trainer, optimizer, what)

    def _error(self, trainer: pl.Trainer, optimizer: torch.optim.Optimizer, what: str) -> TrainingError:
        rate = float(optimizer.param_groups[0]["lr"])
        return TrainingError(
            f"the training diverged: the {what} is not finite",
            facts={
                "step": f"{trainer.global_step + 1}, where {self.in_a_row} in a row were skipped",
                "lr": f"{rate:.3g}",
                "precision": trainer.precision,
            },
            hint=f"optimizer.lr={rate / 10:.0e}, training.clip_norm=1 or trainer.precision=32-true; "
            "resume=true goes on from the last good checkpoint, if there is one",
        )


def weights_are_finite(module: torch.nn.Module) -> bool:
    """Whether all weights and running statistics of a network are numbers."""
    weights = [*(parameter.detach() for parameter in module.parameters()), *_statistics(module)]
    return bool(torch.stack([weight.isfinite().all() for weight in weights]).all())


def _statistics(module: torch.nn.Module) -> list[torch.Tensor]:
    return [buffer for buffer in module.buffers() if buffer.is_floating_point()]
