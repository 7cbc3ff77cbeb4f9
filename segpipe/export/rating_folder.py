"""Folders of rating models: safetensors, ONNX, card and an index with every file's SHA-256, verified when read."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from annotated_types import Interval, MaxLen, MinLen, MultipleOf
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from segpipe import __version__
from segpipe.errors import ModelError, raise_together
from segpipe.export.contents import content_errors
from segpipe.export.export_spec import CARD, INDEX, ONNX, WEIGHTS, plain
from segpipe.export.index import read_content
from segpipe.export.onnx import OPSET, quiet, without_traces
from segpipe.export.parity import TOLERANCE
from segpipe.export.rating_card import rating_card
from segpipe.export.staging import staged_folder
from segpipe.export.weights import weights_as_bytes
from segpipe.export.writing import checksum
from segpipe.labels.ratings import RATING_SCALES, RatingScale
from segpipe.networks.crop_layers import GROUPS
from segpipe.networks.rating_network import RatingNetwork
from segpipe.preprocessing.rating_crop import RatingCrop
from segpipe.validation import mistakes_in

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "segpipe-ratings-1"
INPUTS, OUTPUT = ("crops", "measurements"), "probabilities"
Width = Annotated[int, Interval(ge=4, le=256), MultipleOf(GROUPS)]


class RatingLayers(BaseModel):
    """What the network is built from, next to its ratings and measurements."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    channels: Annotated[list[Width], MaxLen(5)]
    hidden: Annotated[int, Interval(ge=1, le=256)]
    dropout: Annotated[float, Interval(ge=0, lt=1)]


class _Index(BaseModel):
    """The content of `segpipe.json` of a rating model."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")

    ratings: Annotated[list[str], MinLen(1), MaxLen(len(RATING_SCALES))]
    measurements: Annotated[list[str], MinLen(1), MaxLen(100)]
    crop: dict[str, Any]
    layers: RatingLayers
    facts: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str]


@dataclass(frozen=True, eq=False)
class RatingModel:
    """A network that rates nodules, and all that it needs.

    Args:
        network: In eval mode, on the CPU.
        scales: What it rates, in the order of its output.
        measurements: Names of the measurements that it takes, in their order.
        crop: What it sees of a scan.
        layers: What it is built from.
        about: Plain data for the card: data, figures.
    """

    network: RatingNetwork
    scales: tuple[RatingScale, ...]
    measurements: tuple[str, ...]
    crop: RatingCrop
    layers: RatingLayers
    about: Mapping[str, Any]


def build_rating_network(
    scales: tuple[RatingScale, ...], measurements: tuple[str, ...], layers: RatingLayers
) -> RatingNetwork:
    """A network with fresh weights."""
    grades = [len(scale.grades) for scale in scales]
    return RatingNetwork(
        grades, len(measurements), channels=layers.channels, hidden=layers.hidden, dropout=layers.dropout
    )


def write_rating_folder(path: Path, model: RatingModel) -> Path:
    """Writes a model folder; it appears under `path` whole and checked, or not at all.

    Raises:
        ModelError: when PyTorch and ONNX Runtime disagree.
        OutputError: when the folder cannot be written or holds something else.
    """
    metadata = {"format": "pt", "segpipe_version": __version__}
    with staged_folder(path, marker=INDEX) as folder:
        for name in ("docs", "models"):
            (folder / name).mkdir()
        (folder / WEIGHTS).write_bytes(weights_as_bytes(model.network.state_dict(), metadata))
        _write_onnx(folder / ONNX, model)
        (folder / CARD).write_text(rating_card(model.scales, model.about), encoding="utf-8")
        (folder / INDEX).write_text(json.dumps(_index(folder, model), indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def read_rating_folder(path: Path, *, key: "Ed25519PublicKey | None" = None) -> RatingModel:
    """Opens a model folder after it has compared every file with its SHA-256; evaluates and unpickles nothing.

    Args:
        path: The model folder.
        key: Whose signature it must have, if anybody's.

    Raises:
        ModelError: for a folder that is none of this format, or with a changed, missing or invalid file.
    """
    content = read_content(path, wanted=FORMAT, hint="give the folder `model` of a run of lung_nodule_ratings", key=key)
    try:
        index = _Index.model_validate(content)
        crop = TypeAdapter(RatingCrop).validate_python(index.crop)
        scales = tuple(_scale(name) for name in index.ratings)
    except ValidationError as error:
        facts = {"file": path / INDEX, "found": "; ".join(mistakes_in(error, _Index)[:4])}
        raise ModelError(f"{INDEX} is not valid", facts=facts) from None
    raise_together(content_errors(path, index.files), headline="the model folder is damaged")
    measurements = tuple(index.measurements)
    network = _load(path, build_rating_network(scales, measurements, index.layers))
    return RatingModel(network, scales, measurements, crop, index.layers, index.facts)


def _scale(name: str) -> RatingScale:
    if name not in RATING_SCALES:
        facts = {"found": name[:80], "known": ", ".join(RATING_SCALES)}
        raise ModelError("the model predicts a rating that is not known", facts=facts)
    return RATING_SCALES[name]


def _load(path: Path, network: RatingNetwork) -> RatingNetwork:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(path / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        facts = {"folder": path, "found": str(error).splitlines()[0]}
        raise ModelError("the weights do not fit the network", facts=facts) from error
    return network.eval()


def _index(folder: Path, model: RatingModel) -> dict[str, Any]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    index: dict[str, Any] = plain(
        {
            "format": FORMAT,
            "segpipe_version": __version__,
            "ratings": [scale.name for scale in model.scales],
            "measurements": model.measurements,
            "crop": asdict(model.crop),
            "layers": model.layers.model_dump(),
            "onnx": {"inputs": INPUTS, "output": OUTPUT, "opset": OPSET},
            "facts": model.about,
            "files": {file.relative_to(folder).as_posix(): _digest(file) for file in files},
        }
    )
    return {**index, "checksum": checksum(index)}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _write_onnx(file: Path, model: RatingModel) -> None:
    """Inputs `crops` (B, 2, x, y, z) and `measurements` (B, M), output `probabilities` (B, ratings, grades)."""
    from torch.export import Dim

    example = _example(model, 3)
    batch = {0: Dim("batch", min=1, max=1024)}
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            model.network, example, dynamo=True, dynamic_shapes=(batch, batch),
            input_names=list(INPUTS), output_names=[OUTPUT], opset_version=OPSET, verbose=False,
        )  # fmt: skip
    file.write_bytes(without_traces(program).SerializeToString())
    _check_parity(model, open_rating_onnx(file))


def open_rating_onnx(file: Path) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """What ONNX Runtime computes on the CPU from crops and measurements."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    taken = {item.name for item in session.get_inputs()}

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        given = {name: tensor.numpy() for name, tensor in zip(INPUTS, tensors, strict=True) if name in taken}
        return torch.from_numpy(session.run([OUTPUT], given)[0])

    return run


def _check_parity(model: RatingModel, program: Callable[..., torch.Tensor]) -> None:
    example = _example(model, 2)
    with torch.inference_mode():
        difference = float((model.network(*example) - program(*example)).abs().max())
    if not difference <= TOLERANCE:
        facts = {"largest difference of a probability": f"{difference:.1e}", "allowed": f"{TOLERANCE:g}"}
        raise ModelError("ONNX Runtime must compute what the network does; the model is not written", facts=facts)


def _example(model: RatingModel, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    crops = torch.rand(batch, 2, *3 * (model.crop.side,), generator=generator)
    spread = torch.randn(batch, len(model.measurements), generator=generator)
    return crops, model.network.centre + model.network.scale * spread
