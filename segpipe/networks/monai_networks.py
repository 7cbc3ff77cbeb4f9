"""Networks that MONAI has and that need no change, so that its bundles can name their classes."""

from typing import Annotated

from annotated_types import Ge, Len, MinLen, MultipleOf
from monai.networks.nets import SegResNet, SwinUNETR, UNet
from torch import nn

from segpipe.errors import ConfigError
from segpipe.networks.definition import build_monai
from segpipe.networks.settings import (
    NORMS,
    ActName,
    Dropout,
    NormName,
    Shape,
    Strides,
    Width,
    Widths,
    as_triple,
    check_levels,
)
from segpipe.networks.stages import state_stages

Count = Annotated[int, Ge(1)]


def unet(
    in_channels: int,
    out_channels: int,
    *,
    channels: Widths,
    strides: Strides,
    num_res_units: Annotated[int, Ge(0)],
    norm: NormName,
    act: ActName,
    dropout: Dropout,
) -> nn.Module:
    """MONAI's residual U-Net: strided convolutions down, transposed convolutions up.

    Source: Kerfoot et al., STACOM 2018, doi 10.1007/978-3-030-12029-0_40.
    """
    check_levels(channels, strides, strides_per_channels=-1)
    network = build_monai(
        UNet,
        "UNet",
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=tuple(channels),
        strides=tuple(as_triple(stride) for stride in strides),
        num_res_units=num_res_units,
        norm=NORMS[norm],
        act=act,
        dropout=dropout,
    )
    levels = ["model" + ".1.submodule" * level for level in range(len(channels))]  # each lies within the one before
    return state_stages(
        network,
        encoder=[*([f"{level}.0"] for level in levels[:-1]), levels[-1:]],
        decoder=[f"{level}.2" for level in levels[1:-1]],
        head=["model.2"],
    )


def segresnet(
    in_channels: int,
    out_channels: int,
    *,
    width: Annotated[int, Ge(8), MultipleOf(8)],
    blocks_down: Annotated[list[Count], MinLen(2)],
    blocks_up: Annotated[list[Count], MinLen(1)],
    norm: NormName,
    act: ActName,
    dropout: Dropout,
) -> nn.Module:
    """MONAI's SegResNet with transposed convolutions, because trilinear upsampling cannot repeat itself on a GPU.

    Source: Myronenko, BrainLes 2018, arXiv 1810.11654.
    """
    if len(blocks_up) != len(blocks_down) - 1:
        raise ConfigError(
            "one level fewer goes up than down",
            facts={"network.blocks_down": list(blocks_down), "network.blocks_up": list(blocks_up)},
        )
    network = build_monai(
        SegResNet,
        "SegResNet",
        spatial_dims=3,
        init_filters=width,
        in_channels=in_channels,
        out_channels=out_channels,
        dropout_prob=dropout,
        act=act,
        norm=NORMS[norm],
        blocks_down=tuple(blocks_down),
        blocks_up=tuple(blocks_up),
        upsample_mode="deconv",
    )
    lower = [[f"down_layers.{level}"] for level in range(1, len(blocks_down))]
    encoder = [["convInit", "down_layers.0"], *lower]
    return state_stages(network, encoder=encoder, decoder=["up_samples", "up_layers"], head=["conv_final"])


def swin_unetr(
    in_channels: int,
    out_channels: int,
    *,
    width: Annotated[int, Ge(12), MultipleOf(12)],
    depths: Annotated[list[Count], Len(4, 4)],
    heads: Annotated[list[Count], Len(4, 4)],
    window: tuple[Width, Width, Width],
    dropout: Dropout,
    attention_dropout: Dropout,
) -> nn.Module:
    """MONAI's Swin UNETR; its windows depend on the input's size, so its ONNX model is made for one patch size.

    Source: Hatamizadeh et al., BrainLes 2021, arXiv 2201.01266.
    """
    x, y, z = window
    size: Shape = (int(x), int(y), int(z))
    network = build_monai(
        SwinUNETR,
        "SwinUNETR",
        in_channels=in_channels,
        out_channels=out_channels,
        feature_size=width,
        depths=tuple(depths),
        num_heads=tuple(heads),
        window_size=size,
        norm_name=NORMS["instance"],
        drop_rate=dropout,
        attn_drop_rate=attention_dropout,
        spatial_dims=3,
    )
    return state_stages(
        network,
        encoder=[["swinViT.patch_embed", "swinViT.layers1"], *([f"swinViT.layers{level}"] for level in (2, 3, 4))],
        decoder=[f"encoder{level}" for level in (1, 2, 3, 4, 10)] + [f"decoder{level}" for level in (5, 4, 3, 2, 1)],
        head=["out"],
    )
