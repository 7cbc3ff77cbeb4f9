"""What a MONAI bundle must know to build a network without segpipe: MONAI's class and its arguments."""

from collections.abc import Callable
from typing import Any

from torch import nn

_KEY = "_monai_definition"


def build_monai(kind: Callable[..., nn.Module], target: str, **arguments: Any) -> nn.Module:
    """Builds `kind(**arguments)` and remembers that MONAI's class `target` takes the same arguments and weights."""
    network = kind(**arguments)
    setattr(network, _KEY, {"_target_": f"monai.networks.nets.{target}", **arguments})
    return network


def monai_definition(network: nn.Module) -> dict[str, Any] | None:
    """MONAI's class and arguments of a network that was built by `build_monai`; None for one of segpipe's own."""
    definition: dict[str, Any] | None = getattr(network, _KEY, None)
    return definition
