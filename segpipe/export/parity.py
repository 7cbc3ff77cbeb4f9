"""The proof that an exported program computes what the network does, on pieces of a real scan."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from segpipe.errors import ModelError
from segpipe.export.onnx import traced_size
from segpipe.preprocessing.recipe import Shape

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Parity:
    """How closely a program follows the network.

    Args:
        largest: Largest difference of two probabilities.
        shapes: The inputs (B, C, x, y, z) that were compared.
    """

    largest: float
    shapes: tuple[tuple[int, ...], ...]


def check_parity(
    network: nn.Module,
    program: Callable[[torch.Tensor], torch.Tensor],
    patches: Sequence[torch.Tensor],
    *,
    name: str,
    exclusive: bool = True,
) -> Parity:
    """Compares the probabilities of both programs in float32 on each of `patches` (B, C, x, y, z).

    Args:
        network: In eval mode.
        program: Gives logits for patches.
        patches: What they are compared on.
        name: Of the program, for messages.
        exclusive: Whether the channels share a softmax; else each has a sigmoid of its own.

    Raises:
        ModelError: when they differ by more than 0.001 anywhere.
    """
    shapes = tuple(tuple(patch.shape) for patch in patches)
    differences = [_difference(network, program, patch, exclusive=exclusive) for patch in patches]
    if not all(difference <= TOLERANCE for difference in differences):
        by_shape = (f"{_times(shape)}: {value:.1e}" for shape, value in zip(shapes, differences, strict=True))
        raise ModelError(
            f"{name} must compute what the network does; the model is not written",
            facts={"largest difference of a probability": ", ".join(by_shape), "allowed": f"{TOLERANCE:g}"},
            hint="choose another network, e.g. network=unet, and report the versions of torch and onnxruntime",
        )
    parity = Parity(max(differences), shapes)
    inputs = " and ".join(_times(shape) for shape in shapes)
    logging.getLogger(__name__).info("%s and PyTorch differ by %.1e at most (%s)", name, parity.largest, inputs)
    return parity


def parity_patches(example_bcxyz: torch.Tensor, *, window: Shape, divisor: Shape | None) -> list[torch.Tensor]:
    """Two inputs cut from a prepared scan, neither of the traced shape: windows, and one larger piece.

    Args:
        example_bcxyz: A prepared scan (1, 1, x, y, z) or patches of it.
        window: The spatial size that predictions use.
        divisor: What sizes are multiples of; without one the size stays and only the batch differs.
    """
    example = example_bcxyz[:1].float()
    piece = cut(example, window)
    windows = torch.cat([piece, piece.flip(2), piece.flip(3)])
    if divisor is None:
        return [piece, windows]
    larger = _enlarged(window, divisor)
    if larger == traced_size(window, divisor):
        larger = _enlarged(larger, divisor)
    return [windows, cut(example, larger)]


def cut(example_bcxyz: torch.Tensor, shape: Shape) -> torch.Tensor:
    """The middle of a volume; where the volume is smaller than `shape` its border repeats."""
    for axis, size in enumerate(shape, start=2):
        start = max(example_bcxyz.shape[axis] - size, 0) // 2
        example_bcxyz = example_bcxyz.narrow(axis, start, min(size, example_bcxyz.shape[axis]))
    missing = [size - have for size, have in zip(shape, example_bcxyz.shape[2:], strict=True)]
    pads = [width for lack in reversed(missing) for width in (lack // 2, lack - lack // 2)]
    return functional.pad(example_bcxyz, pads, mode="replicate")


@torch.inference_mode()
def _difference(
    network: nn.Module, program: Callable[[torch.Tensor], torch.Tensor], patch: torch.Tensor, *, exclusive: bool
) -> float:
    expected, found = (
        torch.softmax(logits, dim=1) if exclusive else torch.sigmoid(logits)
        for logits in (network(patch), program(patch))
    )
    return float((expected - found).abs().max())


def _enlarged(size: Shape, divisor: Shape) -> Shape:
    x, y, z = (side + step for side, step in zip(size, divisor, strict=True))
    return x, y, z


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
