"""Convolutions that see the crop around one lesion, for networks that say something of it as a whole."""

from collections.abc import Sequence

import torch
from torch import nn

GROUPS = 4
"""Of the group norms; widths are multiples of it."""


def crop_convolutions(channels: Sequence[int]) -> nn.Sequential:
    """Convolutions of crops (B, 2, x, y, z); each of the widths is of a level half as fine as the one before."""
    layers: list[nn.Module] = []
    for before, width in zip([2, *channels], channels, strict=False):
        layers += [*_convolution(before, width, stride=2), *_convolution(width, width, stride=1)]
    return nn.Sequential(*layers)


def pool_crops(seen_bcxyz: torch.Tensor) -> torch.Tensor:
    """Mean and maximum of each channel, (B, 2 C)."""
    return torch.cat([seen_bcxyz.mean((2, 3, 4)), seen_bcxyz.amax((2, 3, 4))], dim=1)


def _convolution(before: int, width: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv3d(before, width, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.GroupNorm(GROUPS, width), nn.ReLU()]
