"""Patches of any size for networks that take multiples of their divisor alone: padded before, cropped behind."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from segpipe.geometry import round_up
from segpipe.networks.settings import Shape, as_triple

_KEY = "divisor"


def state_divisor(network: nn.Module, divisor: Shape) -> None:
    """Lets a network say what each spatial axis of its input must be a multiple of."""
    setattr(network, _KEY, divisor)


def stated_divisor(network: nn.Module) -> Shape | None:
    """What a network says that each spatial axis of its input must be a multiple of; None for one that says nothing."""
    own: Any = getattr(network, _KEY, None)
    return None if own is None else as_triple(own)


def forward_padded(network: nn.Module, images_bcxyz: torch.Tensor) -> Any:
    """The logits of images (B, C, x, y, z) of any size; images that fit go through as they are.

    Behind its last voxels, which repeat, an image is extended to the next multiples of the network's divisor, and the
    logits are cropped to its size. Of several resolutions (deep supervision) those are kept whose voxels end where the
    image does.
    """
    size = as_triple(images_bcxyz.shape[2:])
    padded = round_up(size, stated_divisor(network) or (1, 1, 1))
    if padded == size:
        return network(images_bcxyz)
    widths = [width for have, want in zip(size, padded, strict=True) for width in (want - have, 0)]
    outputs = network(functional.pad(images_bcxyz, widths[::-1], mode="replicate"))
    if isinstance(outputs, torch.Tensor):
        return _crop(outputs, size, padded)
    cropped = [_crop(logits, size, padded) for logits in outputs]
    return [logits for logits in cropped if logits is not None]


def _crop(logits_bcxyz: torch.Tensor, size: Shape, padded: Shape) -> torch.Tensor | None:
    """The part of a padded image's logits that is the image's; None where the image ends within one of their voxels."""
    steps = [full // own for full, own in zip(padded, logits_bcxyz.shape[2:], strict=True)]
    if any(side % step for side, step in zip(size, steps, strict=True)):
        return None
    x, y, z = (side // step for side, step in zip(size, steps, strict=True))
    return logits_bcxyz[:, :, :x, :y, :z]
