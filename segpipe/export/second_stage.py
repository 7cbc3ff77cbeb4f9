"""The second stage of a detector in a model folder: weights, ONNX with checked parity, and what they are built from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from annotated_types import Interval, MaxLen, MinLen, MultipleOf
from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from segpipe import __version__
from segpipe.errors import ModelError
from segpipe.export.onnx import LARGEST_BATCH, OPSET, quiet, without_traces
from segpipe.export.parity import TOLERANCE
from segpipe.export.weights import weights_as_bytes
from segpipe.networks.candidate_network import CandidateEnsemble, CandidateNetwork
from segpipe.networks.crop_layers import GROUPS
from segpipe.networks.registry import MOST_MEMBERS
from segpipe.networks.size_bound import parameters_within
from segpipe.preprocessing.candidate_crop import CandidateCrop

STAGE_WEIGHTS = "models/second_stage.safetensors"
STAGE_ONNX = "models/second_stage.onnx"
INPUTS, OUTPUT = ("crops", "peaks"), "probabilities"
Width = Annotated[int, Interval(ge=GROUPS, le=256), MultipleOf(GROUPS)]
_ROOM = 4


class CandidateLayers(BaseModel):
    """What the network of a second stage is built from.

    Args:
        channels: Widths of the levels, each half as fine as the one before.
        dropout: Of what the convolutions give.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    channels: Annotated[list[Width], MinLen(1), MaxLen(5)]
    dropout: Annotated[float, Interval(ge=0, lt=1)]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StageSpec:
    """What a second stage is, without its weights.

    Args:
        crop: What it sees of a scan.
        layers: What its networks are built from.
        members: How many there are, of which the mean counts.
    """

    crop: CandidateCrop
    layers: CandidateLayers
    members: Annotated[int, Interval(ge=1, le=MOST_MEMBERS)] = 1

    def build(self) -> CandidateEnsemble:
        """The networks with fresh weights."""
        own = self.layers
        return CandidateEnsemble(
            [CandidateNetwork(channels=own.channels, dropout=own.dropout) for _ in range(self.members)]
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"crop": asdict(self.crop), "layers": self.layers.model_dump(), "members": self.members}


@dataclass(frozen=True, eq=False)
class StageModel:
    """A second stage.

    Args:
        spec: What it is.
        network: With its weights, in eval mode, on the CPU.
    """

    spec: StageSpec
    network: CandidateEnsemble


def stage_spec(content: Mapping[str, Any]) -> StageSpec:
    """Reads what an index says of a second stage.

    Raises:
        ValidationError: (a ValueError) naming what is wrong.
    """
    return TypeAdapter(StageSpec).validate_python({name: content.get(name) for name in ("crop", "layers", "members")})


def write_stage(folder: Path, stage: StageModel) -> dict[str, Any]:
    """Writes the files of a second stage; returns what the index says of it.

    Raises:
        ModelError: when PyTorch and ONNX Runtime disagree.
    """
    metadata = {"format": "pt", "segpipe_version": __version__}
    (folder / STAGE_WEIGHTS).write_bytes(weights_as_bytes(stage.network.state_dict(), metadata))
    onnx = {"inputs": INPUTS, "output": OUTPUT, "opset": OPSET, "parity": _write_onnx(folder / STAGE_ONNX, stage)}
    return {**stage.spec.to_dict(), "onnx": onnx}


def load_stage(folder: Path, spec: StageSpec) -> StageModel:
    """Builds the second stage of a verified model folder.

    Raises:
        ModelError: when its weights do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / STAGE_WEIGHTS
    try:
        with parameters_within(_ROOM * file.stat().st_size):
            network = spec.build()
        network.load_state_dict(load_file(file))
    except (SafetensorError, ModelError, RuntimeError, OSError) as error:
        facts = {"file": file, "found": next(iter(str(error).splitlines()), type(error).__name__)}
        raise ModelError("the weights do not fit the second stage", facts=facts) from error
    return StageModel(spec, network.eval())


def mean_of_stages(stages: Sequence[StageModel]) -> StageModel:
    """One second stage of several with the same crop and layers, e.g. of the folds of a cross-validation."""
    members = [cast(CandidateNetwork, member) for stage in stages for member in stage.network.members]
    spec = replace(stages[0].spec, members=len(members))
    return StageModel(spec, CandidateEnsemble(members).eval())


def open_stage_onnx(folder: Path) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """What ONNX Runtime computes on the CPU from crops (B, 2, x, y, z) and peaks (B,).

    Raises:
        ModelError: when it cannot open the file.
    """
    import onnxruntime

    file = folder / STAGE_ONNX
    try:
        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises its own, undocumented kinds
        raise ModelError("the ONNX model cannot be opened", facts={"file": file, "found": error}) from error

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(INPUTS, tensors, strict=True)}
        return torch.from_numpy(session.run([OUTPUT], given)[0])

    return run


def _write_onnx(file: Path, stage: StageModel) -> float:
    """Returns the largest difference of a probability by which ONNX Runtime differs from PyTorch."""
    from torch.export import Dim

    batch = {0: Dim("batch", min=1, max=LARGEST_BATCH)}
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            stage.network, _example(stage.spec, 3), dynamo=True, dynamic_shapes=(batch, batch),
            input_names=list(INPUTS), output_names=[OUTPUT], opset_version=OPSET, verbose=False,
        )  # fmt: skip
    file.write_bytes(without_traces(program).SerializeToString())
    example = _example(stage.spec, 2)
    with torch.inference_mode():
        difference = float((stage.network(*example) - open_stage_onnx(file.parent.parent)(*example)).abs().max())
    if not difference <= TOLERANCE:
        facts = {"largest difference of a probability": f"{difference:.1e}", "allowed": f"{TOLERANCE:g}"}
        raise ModelError("ONNX Runtime must compute what the second stage does; the model is not written", facts=facts)
    return difference


def _example(spec: StageSpec, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    crops = torch.rand(batch, 2, *spec.crop.sides, generator=generator)
    return crops, torch.rand(batch, generator=generator)
