"""Encoder, decoder and head of a network, named once for all that freezes, releases or transfers a part of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from segpipe.errors import ConfigError

Part = Literal["encoder", "decoder", "head"]
_KEY = "stages"
_PARTS = ("encoder", "decoder", "head")


@dataclass(frozen=True)
class Stage:
    """Modules that are frozen and released together.

    Args:
        part: What they belong to.
        modules: Their names in the network, e.g. `model.0`.
    """

    part: Part
    modules: tuple[str, ...]

    def holds(self, name: str) -> bool:
        """Whether a module or parameter of that name lies within."""
        return any(name == module or name.startswith(f"{module}.") for module in self.modules)


def state_stages(
    network: nn.Module, *, encoder: Sequence[Sequence[str]], decoder: Sequence[str], head: Sequence[str]
) -> nn.Module:
    """Lets a network say which of its modules are what, and returns it.

    Args:
        network: The network.
        encoder: The modules of each stage, from the image to the bottom.
        decoder: All other modules between the encoder and the head.
        head: Modules whose sizes depend on the number of classes.
    """
    setattr(network, _KEY, {"encoder": encoder, "decoder": decoder, "head": head})
    return network


def stages_of(network: nn.Module) -> list[Stage]:
    """The stages of a network, from the image to the logits: those of the encoder, the decoder, the head.

    Raises:
        ConfigError: when it does not name them, or parameters belong to none or to several.
    """
    stated: Any = getattr(network, _KEY, None)
    if not isinstance(stated, dict) or set(stated) != set(_PARTS):
        raise ConfigError(
            "the network must say which of its modules are encoder, decoder and head",
            facts={"network": type(network).__name__, "found": "no attribute `stages` that says it"},
            hint='in its constructor: self.stages = {"encoder": [["stem"], ["down1"]], "decoder": ["up"], '
            '"head": ["out"]}, with the names of its modules',
        )
    encoder = [Stage("encoder", tuple(modules)) for modules in stated["encoder"]]
    stages = [*encoder, Stage("decoder", tuple(stated["decoder"])), Stage("head", tuple(stated["head"]))]
    _check_whole(network, stages)
    return stages


def _check_whole(network: nn.Module, stages: Sequence[Stage]) -> None:
    counts = {name: sum(stage.holds(name) for stage in stages) for name, _ in network.named_parameters()}
    wrong = [f"{name} ({count})" for name, count in counts.items() if count != 1]
    if wrong:
        raise ConfigError(
            "each parameter of a network must belong to one of its stages",
            facts={"network": type(network).__name__, "found in none or several": ", ".join(wrong[:4])},
            hint="name its module once in the network's `stages`",
        )
