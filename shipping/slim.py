"""Makes a model folder small: weights in half precision, and once, since ONNX reads them from the safetensors file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from segpipe.export.weights import weights_as_bytes

CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


@torch.no_grad()
def settle_weights(network: nn.Module, example_bcxyz: torch.Tensor) -> None:
    """Changes the weights to what half precision holds, batch norms folded into the convolutions before them.

    The export to ONNX folds batch norms, too; folded here, its weights are those of the network. Biases and what else
    has one axis keep all digits, as they are few.

    Args:
        network: In eval mode, float32, on the CPU.
        example_bcxyz: An image that it takes.
    """
    for convolution, norm in list(_followed_by_norm(network, example_bcxyz)):
        _fold(convolution, norm)
    for weight in network.parameters():
        if weight.ndim > 1:
            weight.copy_(weight.half())


def share_weights(weights: Path, model: Path) -> None:
    """Writes the weights in half precision, and lets the ONNX model next to them read them from there.

    Args:
        weights: The safetensors file, of settled weights.
        model: The ONNX file in the same folder.
    """
    with safe_open(weights, "pt") as file:
        metadata = file.metadata()
    state = {name: tensor.half() if _is_halved(tensor) else tensor for name, tensor in load_file(weights).items()}
    weights.write_bytes(weights_as_bytes(state, metadata))
    places = _places(weights)
    known = {_content(tensor.numpy()): places[name] for name, tensor in state.items() if tensor.dtype == torch.float16}
    graph = onnx.load(model)
    _halve(graph.graph, known, weights.name)
    onnx.save(graph, model)


def _followed_by_norm(network: nn.Module, example_bcxyz: torch.Tensor) -> Iterator[tuple[nn.Module, nn.BatchNorm3d]]:
    """The pairs of a convolution and the batch norm that alone takes its output, found by running the network."""
    made: dict[int, tuple[nn.Module, torch.Tensor]] = {}  # the tensors are kept so that each has an id of its own
    pairs: list[tuple[nn.Module, nn.BatchNorm3d]] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, CONVOLUTIONS):
            made[id(output)] = module, output
        elif isinstance(module, nn.BatchNorm3d) and id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    hooks = [module.register_forward_hook(note) for module in network.modules()]
    network(example_bcxyz)
    for hook in hooks:
        hook.remove()
    yield from pairs


def _fold(convolution: Any, norm: nn.BatchNorm3d) -> None:
    """Gives the convolution what the norm multiplies with, and lets the norm only add."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    shape = (1, -1, 1, 1, 1) if isinstance(convolution, nn.ConvTranspose3d) else (-1, 1, 1, 1, 1)
    convolution.weight.mul_(scale.reshape(shape))
    shift = norm.bias - norm.running_mean * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias * scale
        convolution.bias.zero_()
    norm.weight.fill_(1)
    norm.bias.copy_(shift)
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)


def _is_halved(tensor: torch.Tensor) -> bool:
    return tensor.ndim > 1 and tensor.dtype == torch.float32


def _places(weights: Path) -> dict[str, tuple[int, int]]:
    """Offset and length of each tensor in a safetensors file: the length of a header, the header, the tensors."""
    content = weights.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        name: (8 + size + entry["data_offsets"][0], entry["data_offsets"][1] - entry["data_offsets"][0])
        for name, entry in header.items()
    }


def _content(half: NDArray[np.float16]) -> tuple[tuple[int, ...], bytes]:
    return half.shape, half.tobytes()


def _halve(graph: Any, known: dict[tuple[tuple[int, ...], bytes], tuple[int, int]], file: str) -> None:
    """Replaces weights of float32 by ones of float16 and a cast, done once when ONNX Runtime opens the file."""
    casts = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        half = array.astype(np.float16)
        if array.ndim < 2 or array.dtype != np.float32 or not np.array_equal(half.astype(np.float32), array):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
        if place := known.get(_content(half)):
            _refer(tensor, file, *place)
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def _refer(tensor: Any, file: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", file), ("offset", offset), ("length", length)):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
