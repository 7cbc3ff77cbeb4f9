"""Which weights of a source fit which of a network, by name and shape, and what becomes of those that almost fit."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from segpipe.training.transfer.settings import Axes
from segpipe.training.transfer.weight_files import Weights

_PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.", "encoder.", "swinViT.")
"""What wrappers put in front of names; DataParallel, torch.compile, Lightning, and whoever names a part."""
_SPATIAL = 3


@dataclass(frozen=True)
class Match:
    """What of a source fits a network.

    Args:
        weights: Name in the network → tensor of its shape.
        adapted: Name in the network → how its tensor was made to fit.
        missing: Name in the network → why it has none.
        unused: Names in the source that the network has no place for.
        share: Of the network's parameters that `weights` holds.
    """

    weights: Weights
    adapted: dict[str, str]
    missing: dict[str, str]
    unused: list[str]
    share: float


def match_weights(weights: Weights, network: nn.Module, *, axes: Axes = "xyz") -> Match:
    """Finds for each tensor of a network the one of the source with its name and shape.

    Names are compared as they are, then without the prefixes of wrappers. Kernels get the network's order of axes;
    those of two dimensions are inflated; a convolution of the image takes the sum over the channels of a source with
    several.

    Args:
        weights: The source.
        network: The network.
        axes: The order of the spatial axes in the source's kernels of three dimensions.
    """
    state, image = network.state_dict(), _image_convolutions(network)
    names = _pair_names(weights, state)
    fitted: Weights = {}
    adapted: dict[str, str] = {}
    missing = dict.fromkeys((name for name in state if name not in names), "not in the source")
    for name, source in names.items():
        tensor, how = _adapt(weights[source], state[name], axes=axes, of_image=name in image)
        if tensor.shape == state[name].shape:
            fitted[name] = tensor
            adapted |= {name: how} if how else {}
        else:
            missing[name] = f"shape {_times(weights[source])} ≠ {_times(state[name])}"
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    share = sum(size for name, size in sizes.items() if name in fitted) / max(sum(sizes.values()), 1)
    paired = set(names.values())
    return Match(fitted, adapted, missing, [name for name in weights if name not in paired], share)


def _pair_names(source: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, str]:
    """Name in the target → name in the source; short names that several have pair with nothing."""
    exact = {name: name for name in target if name in source}
    ours = _by_short_name(name for name in target if name not in exact)
    theirs = _by_short_name(name for name in source if name not in exact)
    return exact | {ours[short]: theirs[short] for short in ours if short in theirs}


def _by_short_name(names: Iterable[str]) -> dict[str, str]:
    pairs = [(_short(name), name) for name in names]
    counts = Counter(short for short, _ in pairs)
    return {short: name for short, name in pairs if counts[short] == 1}


def _short(name: str) -> str:
    """A name without all prefixes of wrappers.

    >>> _short("module.backbone.conv1.weight"), _short("encoder.conv1.weight")
    ('conv1.weight', 'conv1.weight')
    """
    while prefix := next((prefix for prefix in _PREFIXES if name.startswith(prefix)), ""):
        name = name[len(prefix) :]
    return name


def _image_convolutions(network: nn.Module) -> set[str]:
    """The weights of convolutions that see the image, which has one channel."""
    return {
        f"{name}.weight"
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv3d) and module.in_channels == 1
    }


def _adapt(value: torch.Tensor, wanted: torch.Tensor, *, axes: Axes, of_image: bool) -> tuple[torch.Tensor, str]:
    """A tensor made to fit, as far as it can be, and how."""
    steps = []
    if wanted.ndim == 2 + _SPATIAL and value.ndim == wanted.ndim and axes != "xyz":
        value = value.permute(0, 1, *(2 + axes.index(axis) for axis in "xyz"))
    if wanted.ndim == 2 + _SPATIAL and value.ndim == wanted.ndim - 1:
        value = inflate(value, wanted.shape[-1])
        steps.append(f"inflated to {wanted.shape[-1]} slices")
    if of_image and value.ndim == wanted.ndim and value.shape[1] > 1:
        steps.append(f"summed over {value.shape[1]} channels")
        value = value.float().sum(dim=1, keepdim=True)
    return value, ", ".join(steps)


def inflate(kernel_oiyx: torch.Tensor, depth: int) -> torch.Tensor:
    """A kernel of images (out, in, rows, columns) as one of volumes (out, in, x, y, z).

    Along z it repeats, divided by the number of repeats, so that a volume of equal slices has the image's response.

    Source: Carreira and Zisserman, CVPR 2017, arXiv 1705.07750.
    """
    kernel = kernel_oiyx.float().transpose(2, 3).unsqueeze(-1)
    return kernel.expand(*kernel.shape[:-1], depth) / depth


def _times(value: torch.Tensor) -> str:
    return "×".join(map(str, value.shape)) or "one number"
