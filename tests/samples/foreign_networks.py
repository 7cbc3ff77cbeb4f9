"""A package outside this project that brings networks, as a user would write them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from segpipe.networks import build_network
from tests.parts.plug_ins import install

NETS = '''
import torch
from torch import nn

class TinyNet(nn.Module):
    """Halves and doubles; takes every even size."""

    def __init__(self, in_channels=1, out_channels=2, width=4):
        super().__init__()
        self.down = nn.Sequential(nn.Conv3d(in_channels, width, 2, stride=2), nn.InstanceNorm3d(width), nn.ReLU())
        self.up = nn.ConvTranspose3d(width, out_channels, 2, stride=2)

    def forward(self, image):
        return self.up(self.down(image))

class OneSize(TinyNet):
    """Adds a learned map, so that it takes one size only."""

    def __init__(self, size, out_channels=2):
        super().__init__(out_channels=out_channels)
        self.place = nn.Parameter(torch.zeros(1, out_channels, *size))

    def forward(self, image):
        return super().forward(image) + self.place

class Branching(TinyNet):
    """Takes other sizes too, but by branches that no program for all sizes can hold."""

    def forward(self, image):
        if image.shape[2] > 36:
            return super().forward(image) * 2
        return super().forward(image)
'''


def install_nets(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return install(folder, monkeypatch, {"nets": NETS}, "[segpipe.networks]\ntiny = PKG.nets:TinyNet\n")


def built(spec: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return build_network(spec).eval()
