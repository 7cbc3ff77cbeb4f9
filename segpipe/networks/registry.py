"""The shipped networks, those from elsewhere, and what each demands of its input."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import torch
from annotated_types import Interval, Len
from torch import nn

from segpipe.errors import ConfigError, ModelError
from segpipe.networks.attention_unet import attention_unet
from segpipe.networks.dynunet import dynunet
from segpipe.networks.ensemble import Ensemble
from segpipe.networks.monai_networks import segresnet, swin_unetr, unet
from segpipe.networks.padding import state_divisor
from segpipe.networks.probe import InputSizes, probe_mistakes, probe_sizes
from segpipe.networks.resnet_unet import resnet_unet
from segpipe.networks.settings import Shape, product_of_strides
from segpipe.parts import TARGET, Registry, build_part
from segpipe.parts.building import try_part
from segpipe.parts.checking import check_shipped

MOST_MEMBERS = 64
_SHIPPED: dict[str, Callable[..., nn.Module]] = {
    "unet": unet,
    "dynunet": dynunet,
    "segresnet": segresnet,
    "attention_unet": attention_unet,
    "resnet_unet": resnet_unet,
    "swin_unetr": swin_unetr,
}


def _try_network(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether a network can learn the recipe's patches and gives a channel for each class."""
    recipe: Any = config.get("recipe")
    if not hasattr(recipe, "label_map"):
        return []  # the recipe has mistakes of its own
    channels, patch = recipe.label_map.channels, recipe.patch

    def use(network: nn.Module) -> list[str]:
        return probe_mistakes(network, patch, in_channels=1, out_channels=channels)

    if is_shipped(spec):
        return [*_shipped_trial(json.dumps(spec), channels)] or _size_mistakes(network_divisor(spec), patch)
    with torch.random.fork_rng(devices=[]):
        return try_part(lambda: build_network(spec, out_channels=channels), nn.Module, use)


@lru_cache
def _shipped_trial(spec: str, channels: int) -> tuple[str, ...]:
    """What keeps a shipped network from being built; found once, as the jobs of a sweep and each check ask again."""
    with torch.random.fork_rng(devices=[]):
        return tuple(try_part(lambda: build_network(json.loads(spec), out_channels=channels), nn.Module))


def _size_mistakes(divisor: Shape, patch: Shape) -> list[str]:
    """A patch is padded to multiples of the divisor; norms need more than one voxel at the bottom of the network."""
    if any(size > step for size, step in zip(patch, divisor, strict=True)):
        return []
    found, limit = ("×".join(map(str, shape)) for shape in (patch, divisor))
    fitting = ",".join(str(2 * step) for step in divisor)
    rule = f"recipe.patch must be larger than {limit}, the network's divisor, along one axis"
    return [f"{rule}; found {found}; try recipe.patch=[{fitting}]"]


_GIVEN = ("in_channels", "out_channels")
NETWORKS = Registry("network", _SHIPPED, group="segpipe.networks", given=_GIVEN, optional=_GIVEN, trial=_try_network)


def ensemble(
    in_channels: int,
    out_channels: int,
    *,
    members: Annotated[int, Interval(ge=1, le=MOST_MEMBERS)],
    member: Mapping[str, Any],
    exclusive: bool = True,
) -> nn.Module:
    """Several networks of one kind, e.g. of the folds of a cross-validation; not for training."""
    given = {"in_channels": in_channels, "out_channels": out_channels}
    return Ensemble([build_part(NETWORKS, member, **given) for _ in range(members)], exclusive=exclusive)


def mixture(
    in_channels: int,
    out_channels: int,
    *,
    parts: Annotated[list[dict[str, Any]], Len(2, MOST_MEMBERS)],
    exclusive: bool = True,
) -> nn.Module:
    """The members of several ensembles as one, e.g. of different networks; not for training.

    Args:
        in_channels: Of the images.
        out_channels: Of the logits.
        parts: The ensembles.
        exclusive: See `Ensemble`.
    """
    given = {"in_channels": in_channels, "out_channels": out_channels}
    members = [build_part(NETWORKS, part["member"], **given) for part in parts for _ in range(int(part["members"]))]
    return Ensemble(members, exclusive=exclusive)


_KNOWN = Registry(
    "network",
    {**_SHIPPED, "ensemble": ensemble, "mixture": mixture},
    group="segpipe.networks",
    given=_GIVEN,
    optional=_GIVEN,
)


def build_network(spec: Mapping[str, Any], *, in_channels: int = 1, out_channels: int = 2) -> nn.Module:
    """Builds the network of `spec`; a shipped one states its divisor and refuses other sizes, before torch fails.

    Raises:
        ConfigError: for a name, key or value that is not known, or when a network from elsewhere cannot be built.
    """
    network: nn.Module = build_part(_KNOWN, spec, in_channels=in_channels, out_channels=out_channels)
    if is_shipped(spec):
        divisor = network_divisor(spec)
        state_divisor(network, divisor)
        network.register_forward_pre_hook(SizeCheck(str(spec["name"]), divisor))
    return network


def is_shipped(spec: Mapping[str, Any]) -> bool:
    """Whether segpipe has the network itself, so that its weights alone are a model; an ensemble is as its members."""
    if TARGET in spec:
        return False
    members = members_of(spec)
    return all(map(is_shipped, members)) if members else spec.get("name") in _SHIPPED


def members_of(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What the members of an ensemble or a mixture are built from, each kind once; none of a single network."""
    if spec.get("name") == "mixture":
        return [part["member"] for part in spec["parts"]]
    return [spec["member"]] if spec.get("name") == "ensemble" else []


def shipped_mistakes(spec: Mapping[str, Any]) -> list[str]:
    """What is wrong with the name and keys of a network that must be one that segpipe ships, one line each."""
    name = spec.get("name")
    if name == "mixture":
        return check_shipped("network", spec, mixture)[1] or _mistakes_of_parts(spec["parts"])
    if name == "ensemble":
        _, mistakes = check_shipped("network", spec, ensemble)
        return mistakes or shipped_mistakes(spec["member"])
    if name not in _SHIPPED:
        return [f"network.name={name!s:.80}: must be one of {', '.join(_SHIPPED)}"]
    return check_shipped("network", spec, _SHIPPED[name])[1]


def _mistakes_of_parts(parts: Sequence[Mapping[str, Any]]) -> list[str]:
    """A mixture is of ensembles and of nothing else, so that it ends somewhere."""
    others = [f"network.parts={part.get('name')!s:.80}: must be ensembles" for part in parts if not _is_ensemble(part)]
    return others or [mistake for part in parts for mistake in shipped_mistakes(part)]


def _is_ensemble(spec: Mapping[str, Any]) -> bool:
    return spec.get("name") == "ensemble"


def input_sizes(spec: Mapping[str, Any], network: nn.Module, patch: Shape) -> InputSizes:
    """Which inputs a network takes: known of a shipped one, found by trying of one from elsewhere.

    Args:
        spec: What the network was built from.
        network: The network.
        patch: Voxels along x, y and z of an input that it takes.
    """
    if is_shipped(spec):
        return InputSizes(network_divisor(spec), fixed=has_fixed_size(spec))
    return probe_sizes(network, patch)


def network_divisor(spec: Mapping[str, Any]) -> Shape:
    """Voxels that each spatial axis of a shipped network's input must be a multiple of.

    >>> network_divisor({"name": "unet", "strides": [[2, 2, 1], 2, 2]})
    (8, 8, 4)
    """
    if not is_shipped(spec):
        raise ConfigError(
            "the network must be one that segpipe ships",
            facts={"found": spec.get("name"), "known": ", ".join(_DIVISORS)},
        )
    return _DIVISORS[spec["name"]](spec)


def has_fixed_size(spec: Mapping[str, Any]) -> bool:
    """Whether the network's program depends on the input's size, so that an exported program fits one size only."""
    return spec["name"] == "swin_unetr" or any(map(has_fixed_size, members_of(spec)))


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
        hint = "pad it, as segpipe.networks.padding.forward_padded does"
        return ModelError(message, facts={"network": self.network, **found}, hint=hint)


def _of_strides(spec: Mapping[str, Any]) -> Shape:
    return product_of_strides(spec["strides"])


def _of_segresnet(spec: Mapping[str, Any]) -> Shape:
    side = int(2 ** (len(spec["blocks_down"]) - 1))
    return side, side, side


def _of_members(spec: Mapping[str, Any]) -> Shape:
    x, y, z = (math.lcm(*steps) for steps in zip(*map(network_divisor, members_of(spec)), strict=True))
    return x, y, z


_DIVISORS: dict[str, Callable[[Mapping[str, Any]], Shape]] = {
    "unet": _of_strides,
    "dynunet": _of_strides,
    "segresnet": _of_segresnet,
    "attention_unet": _of_strides,
    "resnet_unet": _of_strides,
    "swin_unetr": lambda spec: (32, 32, 32),
    "ensemble": lambda spec: network_divisor(spec["member"]),
    "mixture": _of_members,
}
