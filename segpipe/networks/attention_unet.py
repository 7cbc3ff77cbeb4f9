"""The Attention U-Net with norms of one's choice: MONAI's has batch norm only, which small batches break."""

from monai.networks.layers.utils import get_norm_layer
from monai.networks.nets import AttentionUnet
from torch import nn

from segpipe.networks.settings import NORMS, Dropout, NormName, Strides, Widths, as_triple, check_levels
from segpipe.networks.stages import state_stages


def attention_unet(
    in_channels: int,
    out_channels: int,
    *,
    channels: Widths,
    strides: Strides,
    norm: NormName,
    dropout: Dropout,
) -> nn.Module:
    """Builds MONAI's AttentionUnet and swaps its norms; the attention map, one channel wide, is never group-normed.

    Source: Oktay et al., MIDL 2018, arXiv 1804.03999.
    """
    check_levels(channels, strides, strides_per_channels=-1)
    network: nn.Module = AttentionUnet(
        spatial_dims=3,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=tuple(channels),
        strides=tuple(as_triple(stride) for stride in strides),
        dropout=dropout,
    )
    _replace_norms(network, norm)
    levels = ["model.1" + ".submodule.1" * level for level in range(len(strides))]  # each lies within the one before
    return state_stages(
        network,
        encoder=[["model.0"], *([f"{level}.submodule.0"] for level in levels[:-1]), [f"{levels[-1]}.submodule"]],
        decoder=[f"{level}.{module}" for level in levels for module in ("attention", "upconv", "merge")],
        head=["model.2"],
    )


def _replace_norms(module: nn.Module, norm: NormName) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm3d | nn.InstanceNorm3d):
            fitting = "instance" if norm == "group" and child.num_features == 1 else norm
            setattr(module, name, get_norm_layer(NORMS[fitting], spatial_dims=3, channels=child.num_features))
        else:
            _replace_norms(child, norm)
