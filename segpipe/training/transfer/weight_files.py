"""Tensors by name from files that anybody may have written; nothing but tensors and plain data is ever unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from segpipe.errors import ModelError

Weights = dict[str, torch.Tensor]
_WITHIN = ("state_dict", "model_state_dict", "model", "network", "net")
"""Under which of its keys a file of a training keeps the weights."""
_DEEPEST = 3


def read_weights(file: Path) -> Weights:
    """The tensors of a safetensors file or of one that `torch.save` wrote.

    Raises:
        ModelError: when it cannot be read, or holds anything else than tensors and plain data, or no tensor.
    """
    try:
        content = _read(file)
    except Exception as error:  # torch and safetensors raise many kinds
        raise ModelError(
            "the weights cannot be read",
            facts={"file": file, "found": next(iter(str(error).splitlines()), type(error).__name__)},
            hint="give a safetensors file, or a state dict that torch.load(weights_only=True) opens",
        ) from error
    weights = _tensors(content)
    if not weights:
        raise ModelError("the file must hold weights", facts={"file": file, "found": "no tensor with a name"})
    unsound = [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]
    if unsound:
        raise ModelError("weights must be numbers", facts={"file": file, "not finite": ", ".join(unsound[:4])})
    return weights


def _read(file: Path) -> Any:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    return torch.load(file, map_location="cpu", weights_only=True)


def _tensors(content: Any) -> Weights:
    for _ in range(_DEEPEST):
        inner = [
            content[key] for key in _WITHIN if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
        ]
        if not inner:
            break
        content = inner[0]
    named = content.items() if isinstance(content, Mapping) else ()
    return {str(name): value for name, value in named if isinstance(value, torch.Tensor) and _is_plain(value)}


def _is_plain(value: torch.Tensor) -> bool:
    return value.layout == torch.strided and not value.is_quantized and not value.is_complex()
