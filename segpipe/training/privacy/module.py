"""The Lightning module of a private training: what the optimizer, callbacks and checkpoints see has noise already."""

import logging
from typing import Any

import pytorch_lightning as pl
import torch

from segpipe.export.guarantee import PRIVACY
from segpipe.training.module import CHECKPOINT_KEY, Batch, SegmentationModule
from segpipe.training.privacy.account import Account
from segpipe.training.privacy.mechanism import ClippedSum
from segpipe.training.privacy.plan import PrivacyPlan

log = logging.getLogger(__name__)


class PrivateModule(SegmentationModule):
    """Learns from the noisy mean of clipped gradients, one of each patient of a batch.

    Patients are computed one after the other, so that every network and loss does and memory is that of one patient.
    Buffers stay as they are: what a network would keep of its input has no noise.

    Args:
        plan: What each step does.
        **parts: See `SegmentationModule`.
    """

    def __init__(self, *, plan: PrivacyPlan, **parts: Any) -> None:
        super().__init__(**parts)
        self.plan = plan
        self.account = Account(plan.delta)
        self._sum = ClippedSum([], plan.clip_norm)
        self._drawn = self._clipped = 0

    def on_train_start(self) -> None:
        """A run that is resumed may have spent all it could; what comes after the training can still be done."""
        self._end_in_time()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Adds up the patients' gradients; the mean of their losses is for the eye alone."""
        weights, each = self._weights(), self.plan.patches_per_patient
        buffers = [buffer.clone() for buffer in self.buffers()]
        self._sum, losses = ClippedSum(weights, self.plan.clip_norm), []
        for first in range(0, len(batch["image"]), each):
            image, label = (batch[name][first : first + each] for name in ("image", "label"))
            loss = self.loss(self(image), label)
            self._sum.add(torch.autograd.grad(loss, weights, allow_unused=True))
            losses.append(loss.detach())
        for buffer, before in zip(self.buffers(), buffers, strict=True):
            buffer.copy_(before)
        mean = _mean_of_finite(losses, self.device)
        self.log("train/loss", mean, prog_bar=True, logger=False)
        return mean

    def backward(self, loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        """Hands over the noisy mean in the place of the loss's gradient, and books the step."""
        plan = self.plan
        noisy = self._sum.with_noise(plan.noise_multiplier, plan.numbers, step=self.trainer.global_step)
        for weight, gradient in zip(self._weights(), noisy, strict=True):
            weight.grad = gradient / plan.patients_per_step
        self.account.spend(plan.noise_multiplier, plan.sampling_rate)
        self._drawn, self._clipped = self._drawn + self._sum.patients, self._clipped + self._sum.clipped

    def on_train_batch_end(self, *given: Any) -> None:
        """Looks whether another step can be paid for."""
        self._end_in_time()

    def on_validation_epoch_end(self) -> None:
        """Logs what is spent so far, next to the validation's figures."""
        super().on_validation_epoch_end()
        self.log("privacy/epsilon", self.account.epsilon)
        self.log("privacy/noise_multiplier", self.plan.noise_multiplier)
        self.log("train/clipped_patients", self._clipped / max(self._drawn, 1))
        self._drawn = self._clipped = 0

    def describe_privacy(self) -> dict[str, Any]:
        """What is spent by which training."""
        return self.plan.describe(self.account)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what is spent to the provenance."""
        super().on_save_checkpoint(checkpoint)
        known = {**self.describe_privacy(), "history": [list(row) for row in self.account.history]}
        checkpoint[CHECKPOINT_KEY] = {**checkpoint[CHECKPOINT_KEY], PRIVACY: known}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on counting."""
        rows = checkpoint[CHECKPOINT_KEY][PRIVACY]["history"]
        self.account.history = [(float(noise), float(rate), int(steps)) for noise, rate, steps in rows]

    def _weights(self) -> list[torch.nn.Parameter]:
        return [weight for weight in self.network.parameters() if weight.requires_grad]

    def _end_in_time(self) -> None:
        """Ends the training before the step that would spend too much."""
        step = self.trainer.global_step
        if step < self.trainer.max_steps and not self.plan.affords_step(self.account):
            log.warning(
                "privacy: the training ends after step %d, the next would exceed ε = %g", step, self.plan.epsilon
            )
            self.trainer.should_stop = True


def _mean_of_finite(losses: list[torch.Tensor], device: torch.device) -> torch.Tensor:
    """What is not finite is left out, so that no callback skips a step for one patient."""
    finite = [loss for loss in losses if bool(loss.isfinite())]
    return torch.stack(finite).mean() if finite else torch.zeros((), device=device)


def privacy_of(module: pl.LightningModule) -> dict[str, Any] | None:
    """What a trained module has spent; None where nothing was promised."""
    return module.describe_privacy() if isinstance(module, PrivateModule) else None
