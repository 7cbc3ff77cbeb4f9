"""Builds no network that is larger than the weights that are to go into it, whatever a model folder asks for."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from segpipe.errors import ModelError


@contextmanager
def parameters_within(most_bytes: int) -> Iterator[None]:
    """Within the block modules get no more parameters than that: one too many is refused before it takes memory.

    Args:
        most_bytes: Of all parameters together.

    Raises:
        ModelError: within the block, when there are more.
    """
    taken = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal taken
        taken += parameter.nbytes if parameter is not None else 0
        if taken > most_bytes:
            raise ModelError("the network is larger than its weights", facts={"weights": f"{most_bytes} bytes"})

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
