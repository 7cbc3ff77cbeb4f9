"""The network as an ONNX file with dynamic axes."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from segpipe.errors import ModelError
from segpipe.networks.window_masks import quick_window_masks
from segpipe.preprocessing.recipe import Shape

if TYPE_CHECKING:
    import onnx

INPUT, OUTPUT = "image", "logits"
OPSET = 20
LARGEST_BATCH, LARGEST_SIDE = 1024, 4096


def export_onnx(
    network: nn.Module | torch.export.ExportedProgram,
    file: Path,
    *,
    window: Shape,
    divisor: Shape | None,
    properties: Mapping[str, str],
) -> None:
    """Writes `file`: input `image` (B, 1, x, y, z), output `logits` (B, C, x, y, z), opset 20.

    Args:
        network: In eval mode, float32, on the CPU; or a program of it, whose sizes are settled.
        file: Where to.
        window: The spatial size that predictions use.
        divisor: What x, y and z may be multiples of; None fixes them to `window`.
        properties: Plain text that travels in the file's metadata.

    Raises:
        ModelError: when torch cannot express the network in ONNX.
    """
    import onnx

    traced = isinstance(network, torch.export.ExportedProgram)
    example = torch.rand(2, 1, *traced_size(window, divisor))
    try:
        with quiet(), quick_window_masks(), torch.no_grad():
            program = torch.onnx.export(
                network,
                () if traced else (example,),
                dynamo=True,
                dynamic_shapes=None if traced else (dynamic_axes(divisor),),
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # torch raises kinds of its own for each step
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ModelError("the network cannot be written as ONNX", facts={"found": reason}) from error
    model = without_traces(program)
    onnx.helper.set_model_props(model, dict(properties))
    onnx.save(model, file)


def without_traces(program: "torch.onnx.ONNXProgram | None") -> "onnx.ModelProto":
    """What torch has exported, without where in which file of this machine each node was traced."""
    assert program is not None
    model: onnx.ModelProto = program.model_proto  # made anew at each look
    for node in model.graph.node:
        del node.metadata_props[:]
    return model


def traced_size(window: Shape, divisor: Shape | None) -> Shape:
    """The spatial size a model is traced with; torch takes a single voxel at the bottom for a constant."""
    if divisor is None:
        return window
    x, y, z = divisor
    return 2 * x, 3 * y, 2 * z


def open_onnx(file: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from patches (B, 1, x, y, z) to the logits that ONNX Runtime computes on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(patches_bcxyz: torch.Tensor) -> torch.Tensor:
        (logits,) = session.run([OUTPUT], {INPUT: patches_bcxyz.numpy()})
        return torch.from_numpy(logits)

    return run


def dynamic_axes(divisor: Shape | None) -> dict[int, Any]:
    """Which axes of (B, 1, x, y, z) vary: the batch, and the sides where there is a divisor, in its multiples."""
    from torch.export import Dim

    axes: dict[int, Any] = {0: Dim("batch", min=1, max=LARGEST_BATCH)}
    for axis, (letter, step) in enumerate(zip("xyz", divisor or (), strict=False), start=2):
        side = Dim(letter, min=1, max=LARGEST_SIDE // step)
        axes[axis] = step * side if step > 1 else side
    return axes


@contextmanager
def quiet() -> Iterator[None]:
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
