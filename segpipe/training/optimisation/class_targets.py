"""Losses of several classes: what of a label map a loss sees, be it classes, regions or voxels that do not count."""

import torch
from torch import nn
from torch.nn import functional

from segpipe.labels import LabelMap
from segpipe.training.optimisation.over_ranks import sum_over_ranks, train_together

ONE_CLASS = LabelMap()
_TINY = torch.finfo(torch.float32).tiny


class ClassLoss(nn.Module):
    """A loss on a label map that sees no ignored voxel, and of regions a plane each.

    Args:
        loss: Takes logits (B, C, voxels…) and labels (B, 1, voxels…), or of regions their planes (B, C, voxels…).
        labels: The classes.
        pooled: Whether it takes the voxels of all patches together, as a mean over voxels does; else patch by patch.
    """

    members: torch.Tensor

    def __init__(self, loss: nn.Module, labels: LabelMap, *, pooled: bool) -> None:
        super().__init__()
        self.loss = loss
        self.exclusive, self.ignore, self.pooled = labels.exclusive, labels.ignore, pooled
        tables = [torch.from_numpy(labels.member_table(number)) for number in range(len(labels.classes))]
        self.register_buffer("members", torch.stack(tables).float(), persistent=False)

    def forward(self, logits: torch.Tensor, label_b1xyz: torch.Tensor) -> torch.Tensor:
        """Computes the loss; 0 where no voxel counts."""
        if self.ignore is None:
            return self._of(logits, label_b1xyz)
        counted = label_b1xyz != self.ignore
        if self.pooled:
            some = counted.any() or train_together()  # a process without any takes part in the sums of all
            return self._of_chosen(logits, label_b1xyz, counted) if some else logits.sum() * 0
        patches = [slice(number, number + 1) for number in range(len(logits)) if counted[number].any()]
        losses = [self._of_chosen(logits[patch], label_b1xyz[patch], counted[patch]) for patch in patches]
        total, count = sum_over_ranks(sum(losses, logits.sum() * 0), logits.new_tensor(len(losses)))
        return total / count.clamp_min(1)

    def _of_chosen(self, logits: torch.Tensor, label_b1xyz: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        return self._of(_chosen(logits, counted), _chosen(label_b1xyz, counted))

    def _of(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        target = label if self.exclusive else self.members[:, label[:, 0].long()].transpose(0, 1)
        loss: torch.Tensor = self.loss(logits, target)
        return loss


class CrossEntropy(nn.Module):
    """Voxel-wise cross entropy; torch's own form for volumes cannot repeat itself on a GPU and is slow for two classes.

    Args:
        lesion_weight: Weight of a lesion voxel; one of the background has 1.
        channels: Of the logits.
        smoothing: Share of a voxel's label that all classes get alike; its weight stays that of its own class.
    """

    weights: torch.Tensor

    def __init__(self, lesion_weight: float, channels: int = 2, *, smoothing: float = 0.0) -> None:
        super().__init__()
        self.alike = smoothing / channels
        self.own = 1 - smoothing + self.alike
        weights = torch.tensor([1.0, *[lesion_weight] * (channels - 1)])
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: torch.Tensor, label_b1xyz: torch.Tensor) -> torch.Tensor:
        """Computes the mean, weighted by the voxels' weights."""
        label = label_b1xyz.long()
        chosen = torch.full_like(logits, self.alike).scatter_(1, label, self.own)
        surprise = -(functional.log_softmax(logits, dim=1) * chosen).sum(dim=1, keepdim=True)
        weights = self.weights[label]
        total, count = sum_over_ranks((surprise * weights).sum(), weights.sum())
        return total / count.clamp_min(_TINY)


class RegionCrossEntropy(nn.Module):
    """Voxel-wise cross entropy of each region.

    Args:
        lesion_weight: Weight of a voxel inside a region; one outside has 1.
        smoothing: Share of a voxel's label that inside and outside get alike; its weight stays that of its own side.
    """

    def __init__(self, lesion_weight: float, *, smoothing: float = 0.0) -> None:
        super().__init__()
        self.lesion_weight, self.smoothing = lesion_weight, smoothing

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Computes the mean over voxels and regions, weighted by the voxels' weights."""
        smooth = target * (1 - self.smoothing) + self.smoothing / 2
        surprise = functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        weights = 1 + (self.lesion_weight - 1) * target
        total, count = sum_over_ranks((surprise * weights).sum(), weights.sum())
        return total / count.clamp_min(_TINY)


def _chosen(planes: torch.Tensor, counted_b1xyz: torch.Tensor) -> torch.Tensor:
    """The voxels (1, C, n) of planes (B, C, x, y, z) that count."""
    return planes.movedim(1, 0).flatten(1)[:, counted_b1xyz.flatten()][None]
