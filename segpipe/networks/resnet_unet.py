"""A U-Net whose encoder is a ResNet, which MONAI has for two dimensions only.

The encoder's parameters carry the names of MONAI's `ResNet` (`conv1`, `bn1`, `layer1` … `layer4`), so that weights
pre-trained on other scans fit. There is no max-pooling and no interpolation: both cannot repeat themselves on a GPU.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Len, MultipleOf
from monai.networks.blocks.dynunet_block import UnetBasicBlock
from monai.networks.layers.utils import get_act_layer, get_norm_layer
from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
from torch import nn

from segpipe.networks.settings import NORMS, Dropout, NormName, Shape, Stride, as_triple
from segpipe.networks.stages import state_stages

_BLOCKS: dict[int, tuple[type[ResNetBlock | ResNetBottleneck], tuple[int, int, int, int]]] = {
    10: (ResNetBlock, (1, 1, 1, 1)),
    18: (ResNetBlock, (2, 2, 2, 2)),
    34: (ResNetBlock, (3, 4, 6, 3)),
    50: (ResNetBottleneck, (3, 4, 6, 3)),
    101: (ResNetBottleneck, (3, 4, 23, 3)),
    152: (ResNetBottleneck, (3, 8, 36, 3)),
}
_ACT = ("relu", {"inplace": True})


def resnet_unet(
    in_channels: int,
    out_channels: int,
    *,
    depth: Literal[10, 18, 34, 50, 101, 152],
    width: Annotated[int, Ge(8), MultipleOf(8)],
    strides: Annotated[list[Stride | tuple[Stride, Stride, Stride]], Len(5, 5)],
    norm: NormName,
    dropout: Dropout,
) -> nn.Module:
    """Builds the network.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits.
        depth: Of the ResNet.
        width: Channels after the first convolution; the four stages have 1, 2, 4 and 8 times as many.
        strides: Of the first convolution and the four stages; give triples for anisotropic voxels.
        norm: Normalisation.
        dropout: Probability in the decoder.

    Source: He et al., CVPR 2016, arXiv 1512.03385.
    """
    network = ResNetUNet(
        in_channels, out_channels, depth=depth, width=width, strides=[as_triple(s) for s in strides],
        norm=norm, dropout=dropout,
    )  # fmt: skip
    layers = [[f"encoder.layer{number}"] for number in (1, 2, 3, 4)]
    encoder = [["encoder.conv1", "encoder.bn1"], *layers]
    return state_stages(network, encoder=encoder, decoder=["full_size", "decoder"], head=["head"])


class ResNetUNet(nn.Module):
    """Encoder, decoder with a skip before every reduction of the size, and a 1×1×1 convolution to logits."""

    def __init__(
        self, in_channels: int, out_channels: int, *, depth: int, width: int, strides: list[Shape],
        norm: NormName, dropout: float,
    ) -> None:  # fmt: skip
        super().__init__()
        shallow = max(width // 2, 8)
        self.full_size = _convolutions(in_channels, shallow, norm=norm, dropout=0.0)
        self.encoder = ResNetEncoder(in_channels, depth=depth, width=width, strides=strides, norm=norm)
        skips = [shallow, *self.encoder.channels]
        widths = [shallow, *(width * 2**level for level in range(len(self.encoder.channels) - 1)), skips[-1]]
        self.decoder = nn.ModuleList(
            _Up(widths[level + 1], skips[level], widths[level], stride=stride, norm=norm, dropout=dropout)
            for level, stride in reversed(list(enumerate(self.encoder.reductions)))
        )
        self.head = nn.Conv3d(shallow, out_channels, kernel_size=1)

    def forward(self, image_bcxyz: torch.Tensor) -> torch.Tensor:
        """Computes logits (B, C, x, y, z)."""
        features: list[torch.Tensor] = [self.full_size(image_bcxyz), *self.encoder(image_bcxyz)]
        x = features.pop()
        for up, skip in zip(self.decoder, reversed(features), strict=True):
            x = up(x, skip)
        logits: torch.Tensor = self.head(x)
        return logits


class ResNetEncoder(nn.Module):
    """A ResNet that returns its features before every reduction of the size, and at the end.

    Attributes:
        channels: Of the returned features.
        reductions: Stride by which each of them is smaller than the one before (the first: than the image).
    """

    def __init__(self, in_channels: int, *, depth: int, width: int, strides: list[Shape], norm: NormName) -> None:
        super().__init__()
        block, counts = _BLOCKS[depth]
        # ResNet's 7 voxels where the image shrinks, 3 along an axis that does not.
        kernel = as_triple([7 if step > 1 else 3 for step in strides[0]])
        padding = as_triple([size // 2 for size in kernel])
        self.conv1 = nn.Conv3d(in_channels, width, kernel, stride=strides[0], padding=padding, bias=False)
        self.bn1 = get_norm_layer(NORMS[norm], spatial_dims=3, channels=width)
        self.act = get_act_layer(_ACT)
        channels = [width]
        for number, (count, stride) in enumerate(zip(counts, strides[1:], strict=True)):
            stage = _stage(block, channels[-1], width * 2**number, count=count, stride=stride, norm=norm)
            setattr(self, f"layer{number + 1}", stage)
            channels.append(width * 2**number * int(block.expansion))
        self.strides = strides
        shrinks = [stride != (1, 1, 1) for stride in strides]
        self.reductions = [strides[0], *(stride for stride in strides[1:] if stride != (1, 1, 1))]
        self.channels = [channels[at] for at in range(5) if at == 4 or shrinks[at + 1]]
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image_bcxyz: torch.Tensor) -> list[torch.Tensor]:
        """Computes the features, largest first."""
        x = self.act(self.bn1(self.conv1(image_bcxyz)))
        features = [x]
        for number, stride in enumerate(self.strides[1:], start=1):
            x = getattr(self, f"layer{number}")(x)
            if stride == (1, 1, 1):
                features[-1] = x
            else:
                features.append(x)
        return features


class _Up(nn.Module):
    """Transposed convolution, skip, two convolutions."""

    def __init__(
        self, in_channels: int, skip_channels: int, out_channels: int, *, stride: Shape, norm: NormName, dropout: float
    ) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(in_channels, out_channels, kernel_size=stride, stride=stride)
        self.merge = _convolutions(out_channels + skip_channels, out_channels, norm=norm, dropout=dropout)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        merged: torch.Tensor = self.merge(torch.cat([self.up(x), skip], dim=1))
        return merged


def _convolutions(in_channels: int, out_channels: int, *, norm: NormName, dropout: float) -> nn.Module:
    block: nn.Module = UnetBasicBlock(
        3, in_channels, out_channels, kernel_size=3, stride=1, norm_name=NORMS[norm], act_name=_ACT,
        dropout=dropout or None,
    )  # fmt: skip
    return block


def _stage(
    block: type[ResNetBlock | ResNetBottleneck],
    in_channels: int,
    width: int,
    *,
    count: int,
    stride: Shape,
    norm: NormName,
) -> nn.Sequential:
    out_channels = width * int(block.expansion)
    shortcut = nn.Sequential(
        nn.Conv3d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
        get_norm_layer(NORMS[norm], spatial_dims=3, channels=out_channels),
    )
    same = stride == (1, 1, 1) and in_channels == out_channels
    first = block(in_channels, width, stride=stride, downsample=None if same else shortcut, act=_ACT, norm=NORMS[norm])
    rest = [block(out_channels, width, act=_ACT, norm=NORMS[norm]) for _ in range(count - 1)]
    return nn.Sequential(first, *rest)
