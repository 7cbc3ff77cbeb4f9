"""A network from elsewhere as a program that needs none of its code: PyTorch's exported program.

segpipe writes these files and never opens one: reading an exported program runs what it says (it unpickles, evaluates
expressions and calls any function of torch by name), so only who trusts its writer may. Predictions use the ONNX model.
"""

import io
from pathlib import Path

import torch
from torch import nn

from segpipe.errors import ModelError
from segpipe.export.onnx import LARGEST_BATCH, LARGEST_SIDE, dynamic_axes, quiet
from segpipe.parts.targets import reason
from segpipe.preprocessing.recipe import Shape


def export_program(network: nn.Module, *, window: Shape, divisor: Shape | None) -> torch.export.ExportedProgram:
    """Traces the network for images (B, 1, x, y, z).

    Args:
        network: In eval mode, float32, on the CPU.
        window: A spatial size that it takes.
        divisor: What x, y and z may be multiples of; None fixes them to `window`.

    Raises:
        ModelError: when torch cannot trace it, or finds that it takes other sizes.
    """
    try:
        with quiet(), torch.no_grad():
            image = torch.rand(2, 1, *window)
            program = torch.export.export(network, (image,), dynamic_shapes=(dynamic_axes(divisor),), strict=False)
    except Exception as error:  # torch raises kinds of its own for each step
        raise ModelError("the network cannot be exported as a program", facts={"found": reason(error)}) from error
    _check_ranges(program, divisor)
    return program


def _check_ranges(program: torch.export.ExportedProgram, divisor: Shape | None) -> None:
    """Refuses a program that torch made for fewer sizes than asked; a branch of the network can narrow them."""
    wanted = {LARGEST_BATCH, *(LARGEST_SIDE // step for step in divisor or ())}
    for symbol, sizes in program.range_constraints.items():
        # torch takes a single voxel for a constant, so that all ranges begin with 2
        if symbol.is_symbol and (int(sizes.upper) not in wanted or int(sizes.lower) > 2):
            raise ModelError(
                "the network cannot be exported as a program for all sizes",
                facts={"found": f"another program is needed above {sizes.upper} times the divisor along an axis"},
            )


def write_program(file: Path, program: torch.export.ExportedProgram) -> None:
    """Writes a program as `.pt2`."""
    buffer = io.BytesIO()
    with quiet():
        torch.export.save(program, buffer)
    file.write_bytes(buffer.getvalue())
