"""What a loss sums over the patches of a step, summed over those of all processes that train together.

A ratio of sums, e.g. the Dice of a whole batch, is not the mean of what each process finds of its part of the batch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from monai.networks import one_hot
from torch import nn


def train_together() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The sums of numbers, or of tensors of one shape, over all processes; alone they are what they are.

    Gradients are those of the mean over the processes, as DDP and FSDP take it.
    """
    total = torch.stack(values)
    if train_together():
        total = _Sum.apply(total)  # type: ignore[no-untyped-call]
    return total.unbind()


class MeanOverRanks(nn.Module):
    """A mean over voxels, of which processes may have different numbers.

    Args:
        loss: Takes logits (B, C, voxels…) and labels, and gives the mean.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Computes the mean over the voxels of all processes."""
        mean: torch.Tensor
        if not train_together():
            mean = self.loss(logits, target)
            return mean
        voxels = logits[:, 0].numel()
        own = self.loss(logits, target) * voxels if voxels else logits.sum() * 0
        total, count = sum_over_ranks(own, own.new_tensor(voxels))
        mean = total / count.clamp_min(1)
        return mean


class OverlapOverRanks(nn.Module):
    """An overlap of a whole batch, such as Dice: a function of overlap, prediction and reference, each summed.

    Args:
        kind: MONAI's loss.
        activation: How it makes probabilities of logits and planes of labels.
    """

    def __init__(self, kind: Callable[..., nn.Module], activation: Mapping[str, bool]) -> None:
        super().__init__()
        self.alone = kind(batch=True, **activation)
        self.of_planes = kind(batch=True)
        self.softmax = activation.get("softmax", False)
        self.first = 0 if activation.get("include_background", True) else 1

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Computes the loss of logits (B, C, voxels…) and labels of all processes."""
        if not train_together():
            loss: torch.Tensor = self.alone(logits, target)
            return loss
        predicted, reference = self._planes(logits, target)
        sums = [_of_channels(planes) for planes in (predicted * reference, predicted, reference)]
        overlap, prediction, of_labels = sum_over_ranks(*sums)
        of_sums: torch.Tensor = self.of_planes(*_planes_with(overlap, prediction, of_labels.detach()))
        return of_sums

    def _planes(self, logits: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.softmax:
            return logits.sigmoid(), target
        reference = one_hot(target, num_classes=logits.shape[1])
        return logits.softmax(1)[:, self.first :], reference[:, self.first :]


def _of_channels(planes: torch.Tensor) -> torch.Tensor:
    return planes.movedim(1, 0).flatten(1).sum(1)


def _planes_with(
    overlap: torch.Tensor, predicted: torch.Tensor, reference: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes (1, C, 3) of prediction and reference that have these sums, of which MONAI's formulas make the loss."""
    nothing, one = torch.zeros_like(overlap), torch.ones_like(overlap)
    return (
        torch.stack([overlap, predicted - overlap, nothing], dim=1)[None],
        torch.stack([one, nothing, reference - one], dim=1)[None],
    )


class _Sum(torch.autograd.Function):
    """The sum over all processes; each has the gradient of its own loss, and all of them are added."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
