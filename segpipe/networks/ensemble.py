"""Several networks that vote: the folds of a cross-validation as one network."""

from collections.abc import Sequence

import torch
from torch import nn


class Ensemble(nn.Module):
    """Averages its members' probabilities.

    Args:
        members: Networks of one task that give logits (B, C, x, y, z) in eval mode.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images_bcxyz: torch.Tensor) -> torch.Tensor:
        """Logits whose softmax is the mean of the members' softmax."""
        shares = [torch.softmax(member(images_bcxyz).float(), dim=1) for member in self.members]
        # the floor keeps the logarithm finite where all members are sure
        return torch.stack(shares).mean(0).clamp_min(1e-7).log()
