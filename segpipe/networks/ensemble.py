"""Several networks that vote: the folds of a cross-validation as one network."""

from collections.abc import Sequence

import torch
from torch import nn


class Ensemble(nn.Module):
    """Averages its members' probabilities.

    Args:
        members: Networks of one task that give logits (B, C, x, y, z) in eval mode.
        exclusive: Whether the channels share a softmax; else each is a region with a sigmoid of its own.
    """

    def __init__(self, members: Sequence[nn.Module], *, exclusive: bool = True) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.exclusive = exclusive

    def forward(self, images_bcxyz: torch.Tensor) -> torch.Tensor:
        """Logits whose softmax, or sigmoid, is the mean of the members'."""
        if not self.exclusive:
            parts = [torch.sigmoid(member(images_bcxyz).float()) for member in self.members]
            return torch.logit(torch.stack(parts).mean(0), eps=1e-7)
        shares = [torch.softmax(member(images_bcxyz).float(), dim=1) for member in self.members]
        # the floor keeps the logarithm finite where all members are sure
        return torch.stack(shares).mean(0).clamp_min(1e-7).log()
