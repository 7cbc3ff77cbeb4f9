"""Model folders: verified when they are read, whole or not there when they are written, never unpickled."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError
from torch import nn

from segpipe.errors import ConfigError, ModelError, numbered, raise_together
from segpipe.export.contents import content_errors
from segpipe.export.export_spec import EXPORTED, INDEX, ONNX, WEIGHTS, Release
from segpipe.export.index import COPY_AGAIN, LONGEST_SIDE, Index, read_index
from segpipe.export.second_stage import STAGE_ONNX, STAGE_WEIGHTS, StageModel, StageSpec, stage_spec
from segpipe.export.staging import staged_folder
from segpipe.export.writing import fill_folder
from segpipe.networks import build_network, network_divisor
from segpipe.networks.registry import shipped_mistakes
from segpipe.networks.size_bound import parameters_within
from segpipe.parts.building import name_of
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.validation import mistakes_in

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

_ROOM = 4
"""Weights may be stored in half the precision, and a network may make parameters that it drops again."""
_UNFIT: tuple[type[Exception], ...] = (ConfigError, ModelError, RuntimeError, OSError, ValueError, TypeError)


@dataclass(frozen=True)
class ModelFolder:
    """A verified model folder.

    Args:
        path: The folder.
        recipe: How scans are prepared for it.
        network: Name and keys of the network.
        divisor: What its input's size must be a multiple of.
        operating_point: `threshold`, `min_volume_mm3`, `min_probability`, `flips`, `overlap` of windows and, if
            known, the curve `froc`.
        about: Data, split, figures: what the model card says; `facts` in the index.
        fixed_shape: The only spatial size that the ONNX model takes; None when it takes all multiples of the divisor.
        second_stage: What looks again at what the network finds, if anything does.
    """

    path: Path
    recipe: Recipe
    network: Mapping[str, Any]
    divisor: Shape
    operating_point: Mapping[str, Any]
    about: Mapping[str, Any]
    fixed_shape: Shape | None = None
    second_stage: StageSpec | None = None

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


def read_model_folder(path: Path, *, key: "Ed25519PublicKey | None" = None) -> ModelFolder:
    """Opens a model folder after it has compared every file with its SHA-256; evaluates and unpickles nothing.

    Args:
        path: The model folder.
        key: Whose signature it must have, if anybody's; see `segpipe.export.signature`.

    Raises:
        ModelError: for a folder that is no model folder, of another format, with a changed or missing file, or not
            signed by this key.
    """
    index, content = read_index(path, key=key)
    raise_together(content_errors(path, index.files), headline="the model folder is damaged")
    recipe = _recipe_of(index, path / INDEX)
    network, fixed = content["network"], index.onnx.fixed_shape
    return ModelFolder(
        path,
        recipe,
        network,
        _divisor_of(index, network, path / INDEX),
        content["operating_point"],
        content["facts"],
        _shape(fixed) if fixed else None,
        _stage_of(index, path / INDEX),
    )


def _recipe_of(index: Index, file: Path) -> Recipe:
    recipe = Recipe.from_dict(index.recipe)
    if recipe.digest != index.recipe_digest:
        raise ModelError(
            "the recipe does not have the digest it was written with",
            facts={"file": file, "found": recipe.digest, "wanted": index.recipe_digest},
            hint="the model belongs to another version of segpipe, or its recipe was changed by hand",
        )
    return recipe


def _stage_of(index: Index, file: Path) -> StageSpec | None:
    if index.second_stage is None:
        return None
    lacking = [name for name in (STAGE_WEIGHTS, STAGE_ONNX) if name not in index.files]
    if lacking:
        raise ModelError("the model folder lists no such file", facts={"file": file, "missing": ", ".join(lacking)})
    try:
        return stage_spec(index.second_stage)
    except ValidationError as error:
        facts = {"file": file, **numbered(mistakes_in(error, StageSpec, "second_stage")[:8])}
        raise ModelError("the second stage is not valid", facts=facts, hint=COPY_AGAIN) from None


def _divisor_of(index: Index, network: Mapping[str, Any], file: Path) -> Shape:
    """What an exported program says of itself, or what follows from the keys of a network that segpipe ships."""
    if index.network.name == EXPORTED:
        return _shape(index.divisor)
    mistakes = shipped_mistakes(network)
    if mistakes:
        facts = {"file": file, **{str(number): line for number, line in enumerate(mistakes, start=1)}}
        raise ModelError("the model has a network that is not known", facts=facts)
    divisor = network_divisor(network)
    if max(divisor) > LONGEST_SIDE:
        raise ModelError("the network's divisor is too large", facts={"file": file, "found": divisor})
    return divisor


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
    unfit: tuple[type[Exception], ...] = (SafetensorError, *_UNFIT)
    try:
        with parameters_within(_ROOM * folder.weights.stat().st_size):
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
    about: Mapping[str, Any],
    example_bcxyz: torch.Tensor,
    second_stage: StageModel | None = None,
) -> ModelFolder:
    """Writes a model folder; it appears under `path` whole and checked, or not at all.

    Args:
        path: The folder; one that a former export wrote is replaced.
        network: The trained network.
        spec: Name and keys that `build_network` built it from.
        recipe: How its scans were prepared.
        operating_point: See `ModelFolder`.
        about: Plain data for the model card; see `segpipe.export.card`.
        example_bcxyz: A prepared scan (1, 1, x, y, z) in 0…1 on which ONNX Runtime must agree with PyTorch.
        second_stage: What looks again at what the network finds, if anything does.

    Raises:
        ModelError: when network and spec do not fit, or when PyTorch and ONNX Runtime disagree.
        OutputError: when the folder cannot be written or holds something else.
    """
    fresh = _same_network(network, spec, recipe)
    release = Release(fresh, dict(spec), recipe, dict(operating_point), dict(about), second_stage=second_stage)
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


def _shape(sides: Sequence[int]) -> Shape:
    x, y, z = sides
    return x, y, z
