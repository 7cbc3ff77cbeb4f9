"""The network that says whether a candidate of a detector is a lesion, from a crop around it."""

from collections.abc import Sequence

import torch
from torch import nn

from segpipe.networks.crop_layers import crop_convolutions, pool_crops

_EDGE = 1e-4
"""Probabilities are that far from 0 and 1 before their odds are taken."""


class CandidateNetwork(nn.Module):
    """The log odds that the crop shows and those that the candidate came with, weighed and calibrated.

    `share`, `slope` and `offset` are chosen on scans that the network has not learnt from.

    Args:
        channels: Widths of the levels, each half as fine as the one before.
        dropout: Of what the convolutions give.

    Source:
        Setio et al., IEEE Transactions on Medical Imaging 35 (2016) 1160–1169 (a network that reduces false positives).
        Calibration: Platt, Advances in Large Margin Classifiers (1999).
    """

    share: torch.Tensor
    slope: torch.Tensor
    offset: torch.Tensor

    def __init__(self, *, channels: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.convolutions = crop_convolutions(channels)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * channels[-1], 1))
        for name, value in {"share": 1.0, "slope": 1.0, "offset": 0.0}.items():
            self.register_buffer(name, torch.tensor(value))

    def see(self, crops_b2xyz: torch.Tensor) -> torch.Tensor:
        """The log odds of the crops alone, (B,)."""
        odds: torch.Tensor = self.head(pool_crops(self.convolutions(crops_b2xyz)))
        return odds[:, 0]

    def forward(self, crops_b2xyz: torch.Tensor, peaks_b: torch.Tensor) -> torch.Tensor:
        """The probability that each candidate is a lesion, (B,).

        Args:
            crops_b2xyz: The scan from −1 to 1 and the segmentation network's probability around each candidate.
            peaks_b: The largest such probability of each candidate's own voxels.
        """
        mixed = mix_odds(self.see(crops_b2xyz), peaks_b, self.share)
        return torch.sigmoid(self.slope * mixed + self.offset)


class CandidateEnsemble(nn.Module):
    """The mean of several such networks, e.g. of the folds of a cross-validation; one is an ensemble, too.

    Args:
        members: The networks.
    """

    def __init__(self, members: Sequence[CandidateNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, crops_b2xyz: torch.Tensor, peaks_b: torch.Tensor) -> torch.Tensor:
        """See `CandidateNetwork`."""
        return torch.stack([member(crops_b2xyz, peaks_b) for member in self.members]).mean(dim=0)


def mix_odds(seen_b: torch.Tensor, peaks_b: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Log odds of crops and of the candidates' probabilities, the former with a share of 0…1."""
    return share * seen_b + (1 - share) * torch.logit(peaks_b.clamp(_EDGE, 1 - _EDGE))
