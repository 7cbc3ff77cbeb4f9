"""Losses of several classes: what of a label map a loss sees, be it classes, regions or voxels that do not count."""

import torch
from torch import nn
from torch.nn import functional

from segpipe.labels import LabelMap

ONE_CLASS = LabelMap()


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
        patches = [slice(None)] if self.pooled else [slice(number, number + 1) for number in range(len(logits))]
        losses = [
            self._of(_chosen(logits[patch], counted[patch]), _chosen(label_b1xyz[patch], counted[patch]))
            for patch in patches
            if counted[patch].any()
        ]
        return torch.stack(losses).mean() if losses else logits.sum() * 0

    def _of(self, logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        target = label if self.exclusive else self.members[:, label[:, 0].long()].transpose(0, 1)
        loss: torch.Tensor = self.loss(logits, target)
        return loss


class CrossEntropy(nn.Module):
    """Voxel-wise cross entropy; torch's own form for volumes cannot repeat itself on a GPU and is slow for two classes.

    Args:
        lesion_weight: Weight of a lesion voxel; one of the background has 1.
        channels: Of the logits.
    """

    weights: torch.Tensor

    def __init__(self, lesion_weight: float, channels: int = 2) -> None:
        super().__init__()
        weights = torch.tensor([1.0, *[lesion_weight] * (channels - 1)])
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: torch.Tensor, label_b1xyz: torch.Tensor) -> torch.Tensor:
        """Computes the mean, weighted by the voxels' weights."""
        label = label_b1xyz.long()
        chosen = torch.zeros_like(logits).scatter_(1, label, 1.0)
        surprise = -(functional.log_softmax(logits, dim=1) * chosen).sum(dim=1, keepdim=True)
        weights = self.weights[label]
        return (surprise * weights).sum() / weights.sum()


class RegionCrossEntropy(nn.Module):
    """Voxel-wise cross entropy of each region.

    Args:
        lesion_weight: Weight of a voxel inside a region; one outside has 1.
    """

    def __init__(self, lesion_weight: float) -> None:
        super().__init__()
        self.lesion_weight = lesion_weight

    def forward(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Computes the mean over voxels and regions, weighted by the voxels' weights."""
        surprise = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        weights = 1 + (self.lesion_weight - 1) * target
        return (surprise * weights).sum() / weights.sum()


def _chosen(planes: torch.Tensor, counted_b1xyz: torch.Tensor) -> torch.Tensor:
    """The voxels (1, C, n) of planes (B, C, x, y, z) that count."""
    return planes.movedim(1, 0).flatten(1)[:, counted_b1xyz.flatten()][None]
