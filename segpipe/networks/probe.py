"""What a network from elsewhere demands of its input, found by trying: the patch, and what its strides divide."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from segpipe.networks.padding import forward_padded, stated_divisor
from segpipe.networks.settings import Shape
from segpipe.parts.targets import reason

_BATCH = 2


@dataclass(frozen=True)
class InputSizes:
    """Which inputs a network takes.

    Args:
        divisor: Voxels that each spatial axis must be a multiple of.
        fixed: Whether it takes one size only, which is then the divisor.
    """

    divisor: Shape
    fixed: bool = False


def probe_mistakes(network: nn.Module, patch: Shape, *, in_channels: int, out_channels: int) -> list[str]:
    """What keeps a network from learning patches; empty when it gives logits of the patch's size.

    Args:
        network: In any mode; it stays as it is.
        patch: Voxels along x, y and z.
        in_channels: Channels of the image.
        out_channels: Channels that the logits must have.
    """
    shape, wanted = (_BATCH, in_channels, *patch), (_BATCH, out_channels, *patch)
    for mode in ("eval", "training"):
        try:
            output = _forward(_choose_copy(network, shape), shape, training=mode == "training")
        except Exception as error:  # whatever foreign code raises
            return [f"must take the patch {_times(patch)} ({reason(error)})"]
        first = output[0] if mode == "training" and isinstance(output, list | tuple) and output else output
        if not isinstance(first, torch.Tensor) or tuple(first.shape) != wanted:
            found = _times(tuple(first.shape)) if isinstance(first, torch.Tensor) else f"a {type(first).__name__}"
            return [f"must give logits of {_times(wanted)} for a batch of two patches; found {found} in {mode} mode"]
    return []


def probe_sizes(network: nn.Module, patch: Shape, *, in_channels: int = 1) -> InputSizes:
    """Finds what the input's sizes must be multiples of: the network's own `divisor`, or the smallest that works.

    Along each axis in turn the patch grows by 1, 2, … voxels (divisors of its side), until the network gives logits of
    the grown size. On meta tensors this computes nothing; a network that cannot do that is run on the CPU.

    Args:
        network: It takes the patch.
        patch: Voxels along x, y and z.
        in_channels: Channels of the image.
    """
    own = stated_divisor(network)
    if own is not None:
        return InputSizes(own)
    tried = _choose_copy(network, (_BATCH, in_channels, *patch))
    steps = [_step(tried, patch, axis, in_channels) for axis in range(3)]
    if None in steps:
        return InputSizes(patch, fixed=True)
    x, y, z = (step or 1 for step in steps)
    return InputSizes((x, y, z))


def _step(network: nn.Module, patch: Shape, axis: int, in_channels: int) -> int | None:
    side = patch[axis]
    for step in (step for step in range(1, side + 1) if side % step == 0):
        grown = tuple(size + step if at == axis else size for at, size in enumerate(patch))
        try:
            logits = _forward(network, (_BATCH, in_channels, *grown), training=False)
        except Exception:  # whatever foreign code raises at a size that it does not take
            continue
        if tuple(logits.shape[2:]) == grown:
            return step
    return None


def _choose_copy(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """A copy on meta tensors, or on the CPU where the network cannot do without numbers."""
    copied = copy.deepcopy(network)
    try:
        _forward(copied.to("meta"), shape, training=False)
    except Exception:  # torch raises many kinds for what is not written for meta tensors
        return copy.deepcopy(network).to("cpu")
    return copied


def _forward(network: nn.Module, shape: tuple[int, ...], *, training: bool) -> Any:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return forward_padded(network.train(training), torch.zeros(shape, device=device))


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
