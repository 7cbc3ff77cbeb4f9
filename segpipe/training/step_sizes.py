"""How large the steps of an optimizer are next to the weights, and how often clipping shortens them."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn.utils import get_total_norm

from segpipe.training.finite_steps import FiniteSteps


class StepSizes(pl.Callback):
    """Logs `train/update_ratio`, the norm of a step's update over that of the weights, and `train/clipped_fraction`.

    The share of clipped steps is that of the steps that were taken since the last point; the update is that of the
    last step, the one alone before which weights are copied.

    Args:
        every: Steps between two points.
        clip_norm: From which norm on gradients are clipped; None clips none.
        steps: Knows each gradient's norm and which steps were skipped; it is called before this one.
    """

    def __init__(self, *, every: int, clip_norm: float | None, steps: FiniteSteps) -> None:
        self.every = every
        self.clip_norm = clip_norm
        self._steps = steps
        self._taken = self._clipped = 0
        self._before: list[torch.Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """What was counted since the last point."""
        return {"taken": self._taken, "clipped": self._clipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting."""
        self._taken, self._clipped = state_dict["taken"], state_dict["clipped"]

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Counts the step, and keeps the weights where it is one to be logged."""
        if not self._steps.taken:
            return
        self._taken += 1
        self._clipped += self.clip_norm is not None and self._steps.norm > self.clip_norm
        if (trainer.global_step + 1) % self.every == 0:
            self._before = [weight.detach().clone() for weight in _learnt(pl_module)]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Logs a point when it is time."""
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches
        if accumulating or trainer.global_step % self.every or not self._taken:
            return
        points = {"train/update_ratio": _update_ratio(_learnt(pl_module), self._before)} if self._before else {}
        if self.clip_norm is not None:
            points["train/clipped_fraction"] = self._clipped / self._taken
        self._before, self._taken, self._clipped = [], 0, 0
        if trainer.logger and points:
            trainer.logger.log_metrics(points, trainer.global_step)


def _learnt(module: torch.nn.Module) -> list[torch.Tensor]:
    return [weight.detach() for weight in module.parameters() if weight.requires_grad]


def _update_ratio(after: list[torch.Tensor], before: list[torch.Tensor]) -> float:
    moved = float(get_total_norm([new - old for new, old in zip(after, before, strict=True)]))
    return moved / max(float(get_total_norm(before)), torch.finfo(torch.float32).tiny)
