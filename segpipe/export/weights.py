"""Weights as safetensors whose bytes depend on the weights alone, so that two exports of one network are one file."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_LENGTH = 8
"""Bytes of the header's length, and what the header is filled up to a multiple of."""


def weights_as_bytes(state: "Mapping[str, torch.Tensor]", metadata: Mapping[str, str]) -> bytes:
    """The content of a safetensors file with its metadata in the order of their names.

    The library writes them in another order in each process, and whoever compares checksums would see a change.

    Args:
        state: Name → tensor; tensors that share memory are written once for each name.
        metadata: What the header says of them.
    """
    from safetensors.torch import save

    content = save({name: tensor.contiguous().clone() for name, tensor in state.items()}, metadata=dict(metadata))
    end = _LENGTH + int.from_bytes(content[:_LENGTH], "little")
    header = json.loads(content[_LENGTH:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH)
    return len(text).to_bytes(_LENGTH, "little") + text + content[end:]
