"""Model folders: verified when they are read, whole or not there when they are written, never unpickled."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import nn

from segpipe.errors import ConfigError, ModelError, raise_together
from segpipe.export.export_spec import EXPORTED, FORMAT, INDEX, ONNX, WEIGHTS, Release
from segpipe.export.staging import staged_folder
from segpipe.export.writing import checksum, fill_folder
from segpipe.networks import build_network, network_divisor
from segpipe.parts.building import name_of
from segpipe.preprocessing.recipe import Recipe, Shape

KEYS = {
    "format", "recipe", "recipe_digest", "network", "divisor", "onnx", "operating_point", "facts", "files", "checksum",
}  # fmt: skip

_GARBLED: tuple[type[Exception], ...] = (
    KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError, RecursionError,
)  # fmt: skip
_UNKNOWN_NETWORK: tuple[type[Exception], ...] = (ConfigError, *_GARBLED)


@dataclass(frozen=True)
class ModelFolder:
    """A verified model folder.

    Args:
        path: The folder.
        recipe: How scans are prepared for it.
        network: Name and keys of the network.
        divisor: What its input's size must be a multiple of.
        operating_point: `threshold`, `min_volume_mm3`, `min_probability`, `flips` and, if known, the curve `froc`.
        facts: Data, split, figures, versions: what the model card says.
        fixed_shape: The only spatial size that the ONNX model takes; None when it takes all multiples of the divisor.
    """

    path: Path
    recipe: Recipe
    network: Mapping[str, Any]
    divisor: Shape
    operating_point: Mapping[str, Any]
    facts: Mapping[str, Any]
    fixed_shape: Shape | None = None

    @property
    def exported(self) -> bool:
        """Whether the network is none that segpipe ships and is here as a program."""
        return bool(self.network["name"] == EXPORTED)

    @property
    def weights(self) -> Path:
        """The weights, as safetensors."""
        return self.path / WEIGHTS

    @property
    def onnx(self) -> Path:
        """The ONNX model."""
        return self.path / ONNX


def read_model_folder(path: Path) -> ModelFolder:
    """Opens a model folder after it has compared every file with its SHA-256; evaluates and unpickles nothing.

    Raises:
        ModelError: for a folder that is no model folder, of another format, or with a changed or missing file.
    """
    index = _read_index(path)
    try:
        raise_together(_file_errors(path, index["files"]), headline="the model folder is damaged")
        return _folder_of(path, index)
    except _GARBLED as error:
        facts = {"file": path / INDEX, "found": f"{type(error).__name__}: {error}"}
        raise ModelError(
            f"{INDEX} is garbled", facts=facts, hint="copy the folder again from where it was made"
        ) from error


def _folder_of(path: Path, index: Mapping[str, Any]) -> ModelFolder:
    recipe = Recipe.from_dict(index["recipe"])
    if recipe.digest != index["recipe_digest"]:
        raise ModelError(
            "the recipe does not have the digest it was written with",
            facts={"file": path / INDEX, "found": recipe.digest, "wanted": index["recipe_digest"]},
            hint="the model belongs to another version of segpipe, or its recipe was changed by hand",
        )
    network = index["network"]
    try:
        divisor = _shape(index["divisor"]) if network["name"] == EXPORTED else network_divisor(network)
        fixed = index["onnx"].get("fixed_shape")
        shape = _shape(fixed) if fixed else None
    except _UNKNOWN_NETWORK as error:
        raise ModelError("the model has a network that is not known", facts={"file": path / INDEX}) from error
    return ModelFolder(path, recipe, network, divisor, dict(index["operating_point"]), dict(index["facts"]), shape)


def load_network(folder: ModelFolder, spec: Mapping[str, Any] | None = None) -> nn.Module:
    """Builds a network with the folder's weights, in eval mode.

    Args:
        folder: A verified model folder.
        spec: What to build, from the user's own configuration. None takes what the folder says, which can only be a
            network that segpipe ships: nothing is imported because a model folder names it.

    Raises:
        ModelError: when the folder has a program instead of a network, or when the weights do not fit the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if folder.exported and spec is None:
        raise ModelError(
            "the network comes from another package, so this folder is run by ONNX Runtime",
            facts={"folder": folder.path},
            hint="leave --backend out, or --backend onnx",
        )
    unfit: tuple[type[Exception], ...] = (SafetensorError, RuntimeError, OSError, *_UNKNOWN_NETWORK)
    try:
        network = build_network(spec or folder.network, out_channels=folder.recipe.label_map.channels)
        network.load_state_dict(load_file(folder.weights))
    except unfit as error:
        found = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            "the weights do not fit the network",
            facts={"folder": folder.path, "network": folder.network.get("name"), "found": found},
        ) from error
    return network.eval()


def write_model_folder(
    path: Path,
    *,
    network: nn.Module,
    spec: Mapping[str, Any],
    recipe: Recipe,
    operating_point: Mapping[str, Any],
    facts: Mapping[str, Any],
    example_bcxyz: torch.Tensor,
) -> ModelFolder:
    """Writes a model folder; it appears under `path` whole and checked, or not at all.

    Args:
        path: The folder; one that a former export wrote is replaced.
        network: The trained network.
        spec: Name and keys that `build_network` built it from.
        recipe: How its scans were prepared.
        operating_point: See `ModelFolder`.
        facts: Plain data for the model card; see `segpipe.export.card`.
        example_bcxyz: A prepared scan (1, 1, x, y, z) in 0…1 on which ONNX Runtime must agree with PyTorch.

    Raises:
        ModelError: when network and spec do not fit, or when PyTorch and ONNX Runtime disagree.
        OutputError: when the folder cannot be written or holds something else.
    """
    fresh = _same_network(network, spec, recipe)
    release = Release(fresh, dict(spec), recipe, dict(operating_point), dict(facts))
    with staged_folder(path, marker=INDEX) as staging:
        fill_folder(staging, release, example_bcxyz)
    return read_model_folder(path)


def predict_command(model: Path) -> str:
    """The command line that predicts with a model folder, quoted for a shell.

    >>> predict_command(Path("my runs/model"))
    "python -m segpipe predict --model 'my runs/model' --input SCAN --output DIR"
    """
    return f"python -m segpipe predict --model {shlex.quote(str(model))} --input SCAN --output DIR"


def _same_network(network: nn.Module, spec: Mapping[str, Any], recipe: Recipe) -> nn.Module:
    """A clean copy on the CPU in float32, which shows that `spec` and weights alone make the network."""
    fresh = build_network(spec, out_channels=recipe.label_map.channels)
    try:
        fresh.load_state_dict({name: tensor.detach().cpu() for name, tensor in network.state_dict().items()})
    except RuntimeError as error:
        raise ModelError(
            "the weights do not fit the network that the configuration names",
            facts={"network": name_of(spec), "found": str(error).splitlines()[0]},
        ) from error
    return fresh.float().eval()


def _shape(values: Any) -> Shape:
    """Three whole numbers from 1; a folder may hold anything.

    Raises:
        ValueError: for anything else.
    """
    x, y, z = (int(value) for value in values)
    if min(x, y, z) < 1:
        raise ValueError(values)
    return x, y, z


def _read_index(path: Path) -> dict[str, Any]:
    file = path / INDEX
    if not file.is_file():
        raise ModelError(
            f"a model folder must hold {INDEX}",
            facts={"folder": path},
            hint="give the folder `model` of a finished run, or one that the verb export wrote",
        )
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{INDEX} is not readable JSON", facts={"file": file, "found": error}) from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        found = index.get("format") if isinstance(index, dict) else type(index).__name__
        raise ModelError(
            "the model folder has another format",
            facts={"file": file, "found": found, "known": FORMAT},
            hint="use the version of segpipe that wrote it, or export the run again",
        )
    missing = sorted(KEYS - set(index))
    if missing:
        raise ModelError(f"{INDEX} lacks keys", facts={"file": file, "missing": ", ".join(missing)})
    if index["checksum"] != checksum(index):
        raise ModelError(
            "a file of the model folder was changed",
            facts={"file": file, "found": "content that does not have its checksum"},
            hint="copy the folder again from where it was made",
        )
    return index


def _file_errors(path: Path, files: Mapping[str, str]) -> list[ModelError]:
    unlisted = [name for name in (WEIGHTS, ONNX) if name not in files]
    if unlisted:
        raise ModelError("the model folder lists no such file", facts={"folder": path, "missing": ", ".join(unlisted)})
    return [error for name, wanted in files.items() if (error := _file_error(path, name, wanted))]


def _file_error(path: Path, name: str, wanted: str) -> ModelError | None:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        return ModelError("a file of a model folder must lie inside it", facts={"folder": path, "found": name})
    file = path / name
    if not file.is_file():
        return ModelError("a file of the model folder is missing", facts={"file": file})
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != wanted:
        return ModelError(
            "a file of the model folder was changed",
            facts={"file": file, "found": f"SHA-256 {found[:16]}…", "wanted": f"SHA-256 {wanted[:16]}…"},
            hint="copy the folder again from where it was made",
        )
    return None
