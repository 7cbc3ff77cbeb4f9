"""The U-Net of nnU-Net with deep supervision at each level's own resolution."""

from math import sqrt
from typing import Annotated, Any

import torch
from annotated_types import Ge, MinLen
from monai.networks.nets import DynUNet
from torch import nn

from segpipe.errors import ConfigError
from segpipe.networks.definition import build_monai
from segpipe.networks.settings import (
    NORMS,
    ActName,
    Dropout,
    NormName,
    Strides,
    Width,
    as_triple,
    check_levels,
)
from segpipe.networks.stages import state_stages

HEAD_GAIN = 0.4
"""Standard deviation of the first logits that features of unit size give; 1.4 as MONAI draws them."""


def dynunet(
    in_channels: int,
    out_channels: int,
    *,
    channels: Annotated[list[Width], MinLen(3)],
    strides: Strides,
    deep_supervision: Annotated[int, Ge(0)],
    residual: bool,
    norm: NormName,
    act: ActName,
    dropout: Dropout,
) -> nn.Module:
    """Builds MONAI's DynUNet; kernels are 3 wide, `strides[0]` belongs to the first block and is usually 1.

    Args:
        in_channels: Channels of the image.
        out_channels: Channels of the logits.
        channels: Width of each level.
        strides: Stride of each level; the first one is 1, since the output has the input's size.
        deep_supervision: Lower levels whose logits the loss sees too; 0 for none.
        residual: Residual blocks on the way down.
        norm: Normalisation.
        act: Activation.
        dropout: Probability inside the blocks.

    Source: Isensee et al., Nature Methods 2021, doi 10.1038/s41592-020-01008-z.
    """
    check_levels(channels, strides, strides_per_channels=0)
    _check_levels(channels, strides, deep_supervision)
    triples = [as_triple(stride) for stride in strides]
    network = build_monai(
        SupervisedDynUNet,
        "DynUNet",
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=[3] * len(channels),
        strides=triples,
        upsample_kernel_size=triples[1:],
        filters=list(channels),
        dropout=dropout or None,
        norm_name=NORMS[norm],
        act_name=act,
        deep_supervision=deep_supervision > 0,
        deep_supr_num=max(deep_supervision, 1),
        res_block=residual,
    )
    between = [[f"downsamples.{level}"] for level in range(len(channels) - 2)]
    return state_stages(
        network,
        encoder=[["input_block"], *between, ["bottleneck"]],
        decoder=["upsamples"],
        head=["output_block", "deep_supervision_heads"],
    )


class SupervisedDynUNet(DynUNet):  # type: ignore[misc]
    """A DynUNet that returns a list of logits in training, highest resolution first, and one tensor otherwise.

    MONAI's own forward resizes the lower logits to full size before the loss, keeps them as attributes (which cannot
    be copied for averaged weights) and computes them in evaluation too. Weights are interchangeable with MONAI's.

    MONAI draws the 1×1×1 convolutions to logits as if an activation followed (Kaiming), so that a class begins up to
    two logits ahead of another in some draws, which short trainings do not make good. Here all classes begin about
    alike; smaller weights yet (σ = 0.01, as Lin et al., arXiv 1708.02002) learn more slowly (docs/evaluation.md).
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        del self.skip_layers, self.heads
        for head in (self.output_block, *getattr(self, "deep_supervision_heads", ())):
            logits = head.conv.conv
            nn.init.normal_(logits.weight, std=HEAD_GAIN / sqrt(logits.in_channels))

    def forward(self, image_bcxyz: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Computes logits (B, C, x, y, z), or a list of them while training with deep supervision."""
        skips = [self.input_block(image_bcxyz)]
        for block in self.downsamples:
            skips.append(block(skips[-1]))
        x = self.bottleneck(skips[-1])
        levels = []
        for block, skip in zip(self.upsamples, reversed(skips), strict=True):
            x = block(x, skip)
            levels.append(x)
        logits: torch.Tensor = self.output_block(x)
        if not (self.training and self.deep_supervision):
            return logits
        lower = list(reversed(levels[:-1]))
        return [logits, *(head(level) for head, level in zip(self.deep_supervision_heads, lower, strict=False))]


def _check_levels(channels: list[int], strides: list[Any], deep_supervision: int) -> None:
    if as_triple(strides[0]) != (1, 1, 1):
        raise ConfigError(
            "the first stride must be 1, so that logits have the image's size",
            facts={"network.strides": list(strides)},
        )
    if deep_supervision > len(channels) - 2:
        raise ConfigError(
            "deep supervision needs a level for each of its outputs",
            facts={"network.deep_supervision": deep_supervision, "allowed": f"0 to {len(channels) - 2}"},
        )
