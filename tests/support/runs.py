"""What tests ask of runs: how far they are, what they have saved, and what MLflow says of them."""

from pathlib import Path

import torch
from mlflow import MlflowClient

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.training.callbacks import HISTORY, read_history
from segpipe.training.checkpoints.files import LAST, read_checkpoint
from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import fit, recipe_of


def fit_words(words: list[str], folder: Path) -> None:
    """Trains as the command line does, without evaluation and export."""
    settings = settings_of(compose(words, registries), registries())
    recipe = recipe_of(settings)
    run_data = prepare_data(settings, recipe)
    folder.mkdir(parents=True, exist_ok=True)
    provenance = {"digest": recipe.digest, "network": settings.network}
    fit(settings, run_data.patches(settings), folder, provenance=provenance, log_metrics=lambda values, step: None)


def step_of(run: Path) -> int:
    """The last step that a run has logged, 0 before the first."""
    return max((point["step"] for point in read_history(run)), default=0) if (run / HISTORY).exists() else 0


def saved_step(run: Path) -> int:
    """The step that a run would go on from."""
    return read_checkpoint(run / "checkpoints" / LAST)["global_step"]


def saved_weights(run: Path) -> dict[str, torch.Tensor]:
    """The weights that a run would go on from."""
    return read_checkpoint(run / "checkpoints" / LAST)["state_dict"]


def statuses(home: Path) -> dict[str, str]:
    """The status of each run in a folder's MLflow database by its name, of which no two have the same."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run.info.status for run in runs}
