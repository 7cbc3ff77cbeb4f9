"""The closed list of networks and what each demands of its input."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import nn

from segpipe.errors import ModelError
from segpipe.networks.attention_unet import attention_unet
from segpipe.networks.dynunet import dynunet
from segpipe.networks.ensemble import Ensemble
from segpipe.networks.monai_networks import segresnet, swin_unetr, unet
from segpipe.networks.resnet_unet import resnet_unet
from segpipe.networks.settings import Shape, product_of_strides
from segpipe.parts import Registry, build_part

_SHIPPED: dict[str, Callable[..., nn.Module]] = {
    "unet": unet,
    "dynunet": dynunet,
    "segresnet": segresnet,
    "attention_unet": attention_unet,
    "resnet_unet": resnet_unet,
    "swin_unetr": swin_unetr,
}
_GIVEN = ("in_channels", "out_channels")
NETWORKS = Registry("network", _SHIPPED, group="segpipe.networks", given=_GIVEN)


def ensemble(
    in_channels: int, out_channels: int, *, members: Annotated[int, Ge(1)], member: Mapping[str, Any]
) -> nn.Module:
    """Several networks of one kind, e.g. of the folds of a cross-validation; not for training."""
    given = {"in_channels": in_channels, "out_channels": out_channels}
    return Ensemble([build_part(NETWORKS, member, **given) for _ in range(members)])


_KNOWN = Registry("network", {**_SHIPPED, "ensemble": ensemble}, group="segpipe.networks", given=_GIVEN)


def build_network(spec: Mapping[str, Any], *, in_channels: int = 1, out_channels: int = 2) -> nn.Module:
    """Builds the network of `spec`; its forward refuses inputs whose size does not fit, before torch fails.

    Raises:
        ConfigError: for a name, key or value that the closed list does not know.
    """
    network: nn.Module = build_part(_KNOWN, spec, in_channels=in_channels, out_channels=out_channels)
    network.register_forward_pre_hook(SizeCheck(str(spec["name"]), network_divisor(spec)))
    return network


def network_divisor(spec: Mapping[str, Any]) -> Shape:
    """Voxels that each spatial axis of the network's input must be a multiple of.

    >>> network_divisor({"name": "unet", "strides": [[2, 2, 1], 2, 2]})
    (8, 8, 4)
    """
    return _DIVISORS[_KNOWN.check_name(spec)](spec)


def has_fixed_size(spec: Mapping[str, Any]) -> bool:
    """Whether the network's program depends on the input's size, so that an exported program fits one size only."""
    return spec["name"] == "swin_unetr" or (spec["name"] == "ensemble" and has_fixed_size(spec["member"]))


class SizeCheck:
    """A forward pre-hook that refuses an input (B, C, x, y, z) of unfit size.

    Args:
        network: Its name, for the message.
        divisor: See `network_divisor`.
    """

    def __init__(self, network: str, divisor: Shape) -> None:
        self.network = network
        self.divisor = divisor

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Looks at the first input's shape.

        Raises:
            ModelError: when an axis is no multiple of the divisor, or when only one voxel would be left at the bottom.
        """
        if torch.compiler.is_compiling():
            return  # an exported program states its divisor by itself
        shape = tuple(inputs[0].shape[2:])
        if any(size % step for size, step in zip(shape, self.divisor, strict=True)):
            raise self._error("each axis of the input must be a multiple of the network's divisor", shape)
        if all(size == step for size, step in zip(shape, self.divisor, strict=True)):
            raise self._error("the input must be larger than the network's divisor along one axis", shape)

    def _error(self, message: str, shape: Sequence[int]) -> ModelError:
        found = {"input": "×".join(map(str, shape)), "divisor": "×".join(map(str, self.divisor))}
        hint = "choose a patch of fitting size; predictions pad to it by themselves"
        return ModelError(message, facts={"network": self.network, **found}, hint=hint)


def _of_strides(spec: Mapping[str, Any]) -> Shape:
    return product_of_strides(spec["strides"])


def _of_segresnet(spec: Mapping[str, Any]) -> Shape:
    side = int(2 ** (len(spec["blocks_down"]) - 1))
    return side, side, side


_DIVISORS: dict[str, Callable[[Mapping[str, Any]], Shape]] = {
    "unet": _of_strides,
    "dynunet": _of_strides,
    "segresnet": _of_segresnet,
    "attention_unet": _of_strides,
    "resnet_unet": _of_strides,
    "swin_unetr": lambda spec: (32, 32, 32),
    "ensemble": lambda spec: network_divisor(spec["member"]),
}
