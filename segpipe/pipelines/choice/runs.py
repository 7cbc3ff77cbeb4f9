"""The cross-validated runs that are chosen from, and which of them can be one ensemble."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError, DatasetError
from segpipe.evaluation.reading import Evaluation, read_evaluation
from segpipe.export.model_folder import ModelFolder, read_model_folder
from segpipe.system.files.csv_table import read_csv
from segpipe.system.files.plain_files import read_yaml

_OWN = ("froc", "origin", "confidence")


@dataclass(frozen=True)
class ValidatedRun:
    """A cross-validated run.

    Args:
        folder: Its folder.
        config: Its configuration, as plain data.
        evaluation: Its cases, each by the fold that did not train on its patient.
        model: The ensemble of its folds.
    """

    folder: Path
    config: Mapping[str, Any]
    evaluation: Evaluation
    model: ModelFolder

    @property
    def name(self) -> str:
        """What it is called."""
        return self.evaluation.name

    @property
    def weights(self) -> int:
        """Bytes of its networks' weights."""
        return self.model.weights.stat().st_size

    @cached_property
    def folds(self) -> dict[str, int]:
        """By case the fold that held it out."""
        return {
            str(row["case"]): number
            for number in range(int(self.config["data"]["folds"]))
            for row in read_csv(self.folder_of(number) / "split.csv")[1]
            if row["role"] == "test"
        }

    def folder_of(self, fold: int) -> Path:
        """The run folder of a fold."""
        return self.folder / f"fold_{fold}"


def read_runs(folders: Sequence[Path]) -> list[ValidatedRun]:
    """Reads the runs to choose from.

    Raises:
        ConfigError: when they are fewer than two, or one is no cross-validation.
        DatasetError: when they were trained on different data.
        ModelError: when a model folder is damaged.
    """
    if len(folders) < 2:
        raise ConfigError("a choice needs two runs or more", facts={"found": len(folders)})
    names = _distinct([folder.resolve() for folder in folders])
    runs = [_read(folder.resolve(), name) for folder, name in zip(folders, names, strict=True)]
    hashes = {run.name: str(run.evaluation.summary.get("data_hash")) for run in runs}
    if len(set(hashes.values())) > 1:
        facts = {f"data of {name}": value for name, value in hashes.items()}
        raise DatasetError("runs to choose from must be of the same data", facts=facts)
    return runs


def why_apart(runs: Sequence[ValidatedRun]) -> str | None:
    """What keeps runs from being one ensemble; None for nothing."""
    first = runs[0].model
    for run in runs:
        model = run.model
        if model.second_stage:
            return f"{run.name} has a second stage"
        if model.recipe.digest != first.recipe.digest:
            return f"{run.name} prepares scans by another recipe than {runs[0].name}"
        if _point(model) != _point(first):
            return f"{run.name} has another operating point than {runs[0].name}"
    return None


def _point(model: ModelFolder) -> dict[str, Any]:
    """What decides on a mask; what a run has measured or fitted besides is its own."""
    return {name: value for name, value in model.operating_point.items() if name not in _OWN}


def _read(folder: Path, name: str) -> ValidatedRun:
    try:
        config = read_yaml(folder / "config.yaml")
        whole = config["data"]["fold"] == "all"
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole or not (folder / "evaluation" / "summary.json").is_file():
        raise ConfigError(
            "a run to choose from must be a cross-validation that has come to its end",
            facts={"folder": folder},
            hint="python -m segpipe +experiment=NAME data.fold=all; with resume=true it goes on",
        )
    model = read_model_folder(folder / "model")
    if model.exported:
        raise ConfigError(
            "a network from another package cannot be chosen, since no folder may name what is imported",
            facts={"run": folder, "network": model.network.get("name")},
            hint="python -m segpipe compare RUN RUN   says which is better",
        )
    return ValidatedRun(folder, config, read_evaluation(folder / "evaluation", name=name), model)


def _distinct(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with their parents' where they are the same."""
    counts = Counter(folder.name for folder in folders)
    names = [folder.name if counts[folder.name] == 1 else f"{folder.parent.name}-{folder.name}" for folder in folders]
    if len(set(names)) < len(names):
        facts = {"found": ", ".join(map(str, folders))}
        raise ConfigError("runs to choose from must be different folders", facts=facts)
    return names
