"""The sum of clipped gradients with noise: all that a step learns of its patients."""

from collections.abc import Sequence

import torch

from segpipe.training.privacy.randomness import Purpose, SecretNumbers

_ROUNDING = 1e-6  # so that a float32 sum of squares cannot exceed the bound


class ClippedSum:
    """Adds up gradients, each of one patient and no longer than a bound.

    A gradient that is not finite counts as none: a step that were skipped for it would give its patient away.

    Source: Abadi et al., CCS 2016, arXiv 1607.00133; of users instead of samples McMahan et al., ICLR 2018,
        arXiv 1710.06963.

    Args:
        weights: What the gradients belong to.
        clip_norm: Their longest joint norm.
    """

    def __init__(self, weights: Sequence[torch.Tensor], clip_norm: float) -> None:
        self.clip_norm = clip_norm
        self.patients = self.clipped = 0
        self.total = [torch.zeros_like(weight) for weight in weights]

    def add(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Adds a patient's; None where a weight has none."""
        self.patients += 1
        norm = _joint_norm(gradients)
        if not norm < float("inf"):
            return
        share = min(1.0, self.clip_norm / (norm * (1 + _ROUNDING))) if norm else 1.0
        self.clipped += share < 1
        for sum_, gradient in zip(self.total, gradients, strict=True):
            if gradient is not None:
                sum_.add_((share * gradient.double()).to(sum_))  # in float32 a very small share has few digits

    def with_noise(self, noise_multiplier: float, numbers: SecretNumbers, *, step: int) -> list[torch.Tensor]:
        """The sum with normal noise of `noise_multiplier` times the bound on each weight."""
        noise = numbers.normal(Purpose.NOISE, step, [sum_.shape for sum_ in self.total])
        deviation = noise_multiplier * self.clip_norm
        return [sum_ + (deviation * own).to(sum_) for sum_, own in zip(self.total, noise, strict=True)]


def _joint_norm(gradients: Sequence[torch.Tensor | None]) -> float:
    norms = [torch.linalg.vector_norm(one, dtype=torch.float64) for one in gradients if one is not None]
    return float(torch.stack(norms).norm()) if norms else 0.0
