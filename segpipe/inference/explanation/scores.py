"""The one number that is explained: how sure a network is of a finding's voxels, or the rating that it gives."""

import torch
from torch import nn

from segpipe.labels import LabelMap
from segpipe.networks.activation import class_probabilities

_NEARLY = 1e-7


class RegionScore(nn.Module):
    """Mean log odds of a class over the voxels of a finding.

    Args:
        network: Gives logits (B, C, x, y, z).
        labels: The classes.
        number: Of the finding's class.
        region_xyz: The finding's voxels in the window, boolean; at least one.

    Source:
        Vinogradova, Dibrov and Myers, Towards Interpretable Semantic Segmentation via Gradient-weighted Class
        Activation Mapping, AAAI 2020, arXiv 2002.11434.
    """

    region: torch.Tensor

    def __init__(self, network: nn.Module, labels: LabelMap, number: int, region_xyz: torch.Tensor) -> None:
        super().__init__()
        self.network, self.labels, self.number = network, labels, number
        self.register_buffer("region", region_xyz)

    def forward(self, images_b1xyz: torch.Tensor) -> torch.Tensor:
        """The score of each image, (B,)."""
        logits = self.network(images_b1xyz).float()
        odds: torch.Tensor = torch.logit(class_probabilities(logits, self.labels)[:, self.number], eps=_NEARLY)
        if self.labels.channels == 2 and self.labels.exclusive:
            odds = logits[:, 1] - logits[:, 0]  # the same, and of a sure network still with a gradient
        return odds[:, self.region].mean(dim=1)


class RatingScore(nn.Module):
    """The grade that a rating network expects, counted from its lowest one.

    Args:
        network: A `RatingNetwork`.
        rating: Number of the scale.
        mask_xyz: The nodule's mask in the crop, 0…1.
        measurements: Its measurements.
    """

    mask: torch.Tensor
    measurements: torch.Tensor

    def __init__(self, network: nn.Module, rating: int, mask_xyz: torch.Tensor, measurements: torch.Tensor) -> None:
        super().__init__()
        self.network, self.rating = network, rating
        self.register_buffer("mask", mask_xyz)
        self.register_buffer("measurements", measurements)

    def forward(self, images_b1xyz: torch.Tensor) -> torch.Tensor:
        """The score of each crop, (B,)."""
        count = len(images_b1xyz)
        crops = torch.cat([images_b1xyz, self.mask.expand(count, 1, *self.mask.shape)], dim=1)
        probabilities: torch.Tensor = self.network(crops, self.measurements.expand(count, -1))[:, self.rating]
        return probabilities @ torch.arange(probabilities.shape[1], dtype=probabilities.dtype)
