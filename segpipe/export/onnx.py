"""The network as an ONNX file with dynamic axes, and the proof that ONNX Runtime computes what PyTorch does."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from segpipe.errors import ModelError
from segpipe.preprocessing.recipe import Shape

INPUT, OUTPUT = "image", "logits"
OPSET = 20
TOLERANCE = 1e-3
LARGEST_BATCH, LARGEST_SIDE = 1024, 4096


@dataclass(frozen=True)
class Parity:
    """How closely ONNX Runtime follows PyTorch.

    Args:
        largest: Largest difference of two softmax values.
        shapes: The inputs (B, C, x, y, z) that were compared.
    """

    largest: float
    shapes: tuple[tuple[int, ...], ...]


def export_onnx(
    network: nn.Module, file: Path, *, window: Shape, divisor: Shape | None, properties: Mapping[str, str]
) -> None:
    """Writes `file`: input `image` (B, 1, x, y, z), output `logits` (B, C, x, y, z), opset 20.

    Args:
        network: In eval mode, float32, on the CPU.
        file: Where to.
        window: The spatial size that predictions use.
        divisor: What x, y and z may be multiples of; None fixes them to `window`.
        properties: Plain text that travels in the file's metadata.

    Raises:
        ModelError: when torch cannot express the network in ONNX.
    """
    import onnx

    example = torch.rand(2, 1, *traced_size(window, divisor))
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                dynamic_shapes=(_dynamic_axes(divisor),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # torch raises kinds of its own for each step
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ModelError("the network cannot be written as ONNX", facts={"found": reason}) from error
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(properties))
    onnx.save(model, file)


def traced_size(window: Shape, divisor: Shape | None) -> Shape:
    """The spatial size a model is traced with; torch takes a single voxel at the bottom for a constant."""
    if divisor is None:
        return window
    x, y, z = divisor
    return 2 * x, 3 * y, 2 * z


def check_parity(network: nn.Module, file: Path, patches: Sequence[torch.Tensor]) -> Parity:
    """Compares the softmax of PyTorch in float32 and of ONNX Runtime on each of `patches` (B, C, x, y, z).

    Raises:
        ModelError: when they differ by more than 0.001 anywhere.
    """
    differences = [_difference(network, file, patch) for patch in patches]
    shapes = tuple(tuple(patch.shape) for patch in patches)
    parity = Parity(max(differences), shapes)
    if not all(difference <= TOLERANCE for difference in differences):
        told = (f"{_times(shape)}: {value:.1e}" for shape, value in zip(shapes, differences, strict=True))
        raise ModelError(
            "the ONNX model must compute what the network does; it is not written",
            facts={"largest softmax difference": ", ".join(told), "allowed": f"{TOLERANCE:g}"},
            hint="choose another network, e.g. network=unet, and report the versions of torch and onnxruntime",
        )
    logging.getLogger(__name__).info("ONNX Runtime and PyTorch differ by %.1e at most", parity.largest)
    return parity


def parity_patches(example_bcxyz: torch.Tensor, *, window: Shape, divisor: Shape | None) -> list[torch.Tensor]:
    """Two inputs cut from a prepared scan, neither of the traced shape: windows, and one larger piece.

    Args:
        example_bcxyz: A prepared scan (1, 1, x, y, z) or patches of it.
        window: The spatial size that predictions use.
        divisor: See `export_onnx`; without one the size stays and only the batch differs.
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


def _difference(network: nn.Module, file: Path, patch: torch.Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    (logits,) = session.run([OUTPUT], {INPUT: patch.numpy()})
    with torch.inference_mode():
        expected = torch.softmax(network(patch), dim=1)
    return float((expected - torch.softmax(torch.from_numpy(logits), dim=1)).abs().max())


def _dynamic_axes(divisor: Shape | None) -> dict[int, Any]:
    from torch.export import Dim

    axes: dict[int, Any] = {0: Dim("batch", min=1, max=LARGEST_BATCH)}
    for axis, (letter, step) in enumerate(zip("xyz", divisor or (), strict=False), start=2):
        side = Dim(letter, min=1, max=LARGEST_SIDE // step)
        axes[axis] = step * side if step > 1 else side
    return axes


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's notes on its own deprecations, on torchvision and on every merged constant out of the log."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _enlarged(size: Shape, divisor: Shape) -> Shape:
    x, y, z = (side + step for side, step in zip(size, divisor, strict=True))
    return x, y, z


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
