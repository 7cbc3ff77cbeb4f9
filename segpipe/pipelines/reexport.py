"""A model folder from a finished run's checkpoint, without training or evaluating again."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from segpipe.case import Case, build_case
from segpipe.datasets.loading import load_case
from segpipe.datasets.opening import cache_folder, open_dataset
from segpipe.errors import ConfigError, ModelError, SegpipeError
from segpipe.export.export_spec import INDEX, TRAINED_BY
from segpipe.export.model_folder import ModelFolder, read_model_folder, write_model_folder
from segpipe.export.second_stage import load_stage
from segpipe.io.images.volumes import read_volume
from segpipe.networks import build_network
from segpipe.parts.targets import targets_in
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import normalise, plan_preparation, resample_to_recipe
from segpipe.system.files.plain_files import read_json, read_yaml
from segpipe.training.checkpoints.files import read_checkpoint
from segpipe.training.checkpoints.weights import load_weights
from segpipe.training.transfer.parent import how_trained

_DEFAULT_POINT = {"threshold": 0.5, "min_volume_mm3": 0.0, "min_probability": 0.0, "flips": []}
_SAID_ELSEWHERE = ("recipe", "digest", "network", "labels")


def reexport(
    run_folder: Path,
    output: Path,
    *,
    weights: str | None = None,
    case: Path | None = None,
    trusted: Collection[str] = (),
) -> ModelFolder:
    """Writes a model folder from a checkpoint of a run.

    Figures, operating point and second stage are those of the run's evaluation; with other weights than the evaluated
    ones there are none.

    Args:
        run_folder: The folder that a training left.
        output: The model folder to write.
        weights: `last` or `best`; None takes those that the run evaluated.
        case: A scan to check parity on; None takes the first case of the run's data set.
        trusted: Import paths (`_target_`) that the run's network may be built from.

    Raises:
        ConfigError: when the folder is no run folder, there is no case to check parity on, or the network is built from
            an import path that is not trusted.
        ModelError: when the checkpoint cannot be read or its network not be exported.
    """
    config = _read_config(run_folder)
    evaluated = str(config["evaluation"]["weights"])
    file = run_folder / "checkpoints" / f"{weights or evaluated}.ckpt"
    made_by = read_checkpoint(file)["segpipe"]
    recipe = Recipe.from_dict(made_by["recipe"])
    _check_trusted(made_by["network"], trusted)
    network = build_network(made_by["network"], out_channels=recipe.label_map.channels)
    try:
        load_weights(network, file)
    except RuntimeError as error:
        raise ModelError("the checkpoint's weights do not fit its network", facts={"file": file}) from error
    former = _former(run_folder) if weights in (None, evaluated) else None
    about = {name: value for name, value in made_by.items() if name not in _SAID_ELSEWHERE}
    return write_model_folder(
        output,
        network=network,
        spec=made_by["network"],
        recipe=recipe,
        operating_point=former.operating_point if former else _DEFAULT_POINT,
        about=former.about if former else {**about, TRAINED_BY: how_trained(config)},
        second_stage=load_stage(former.path, former.second_stage) if former and former.second_stage else None,
        example_bcxyz=_prepare(_read_case(case), recipe) if case else prepare_first_case(config, recipe),
    )


def prepare_first_case(config: Mapping[str, Any], recipe: Recipe) -> torch.Tensor:
    """The first scan of a run's data set as its network sees it, (1, 1, x, y, z), to check parity on.

    Args:
        config: Of the run, as plain data.
        recipe: Of its network.

    Raises:
        ConfigError: when the data set cannot be opened.
    """
    return _prepare(_first_case(config, recipe), recipe)


def _check_trusted(spec: Mapping[str, Any], trusted: Collection[str]) -> None:
    """A run folder may come from anybody, and importing runs code."""
    unknown = [target for target in targets_in(spec) if target not in trusted]
    if unknown:
        raise ConfigError(
            "the run's network comes from another package, which is imported only if you say so",
            facts={"network": ", ".join(unknown)},
            hint=" ".join(f"--trust {target}" for target in unknown),
        )


def describe_parity(model: ModelFolder) -> str:
    """One line on how closely ONNX Runtime follows PyTorch."""
    parity = read_json(model.path / INDEX)["onnx"]["parity"]
    shapes = " and ".join("×".join(map(str, shape)) for shape in parity["shapes"])
    return f"parity   ONNX Runtime and PyTorch differ by {parity['largest']:.1e} at most (inputs of {shapes})"


def _read_config(run_folder: Path) -> dict[str, Any]:
    file = run_folder / "config.yaml"
    try:
        config = read_yaml(file)
        config["evaluation"]["weights"], config["data"]["name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            "a run folder must hold the config.yaml of its training",
            facts={"file": file},
            hint="give the folder runs/EXPERIMENT/DATE_TIME that a training left",
        ) from error
    return dict(config)


def _former(run_folder: Path) -> ModelFolder | None:
    """The model folder that the run wrote, for its figures; None when it is missing or damaged."""
    try:
        return read_model_folder(run_folder / "model")
    except ModelError:
        return None


def _read_case(file: Path) -> Case:
    return build_case("example", read_volume(file))


def _first_case(config: Mapping[str, Any], recipe: Recipe) -> Case:
    data = config["data"]
    try:
        manifest = open_dataset(data["name"], data, labels=recipe.label_map, cache=cache_folder(data.get("cache")))
        return load_case(manifest.entries[0], manifest.labels)
    except (SegpipeError, KeyError) as error:
        raise ConfigError(
            "the run's data set cannot be opened, and parity is checked on a scan",
            facts={"data": data.get("name"), "found": str(error).splitlines()[0]},
            hint="give a scan with --case FILE",
        ) from error


def _prepare(case: Case, recipe: Recipe) -> torch.Tensor:
    prepared = resample_to_recipe(case.image, plan_preparation(case.grid, recipe))
    return normalise(prepared, recipe)[None, None]
