"""What MLflow learns of a comparison: a run of its own with the differences, and the best model under a name."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe import __version__
from segpipe.errors import DatasetError
from segpipe.pipelines.comparison.compared_runs import ComparedRun
from segpipe.tracking.identity import read_tracked_run

if TYPE_CHECKING:
    from segpipe.tracking.mlflow import Tracker
    from segpipe.tracking.models.registry import RegisteredModel

EXPERIMENT = "comparisons"
DEFAULT_URI = "sqlite:///mlflow.db"


def known_uri(compared_runs: Sequence[ComparedRun]) -> str | None:
    """The server or database that a run's folder names, without user and password; None when none does."""
    for compared_run in compared_runs:
        tracked = read_tracked_run(compared_run.run_folder) if compared_run.run_folder else None
        if tracked and tracked.uri:
            return tracked.uri
    return None


def report_comparison(
    report: Mapping[str, Any], compared_runs: Sequence[ComparedRun], folder: Path, *, uri: str
) -> "Tracker":
    """Logs a comparison as a finished run of the experiment `comparisons`.

    Args:
        report: What `compare` returns.
        compared_runs: The compared runs.
        folder: Where `comparison.json` and `comparison.html` are.
        uri: The MLflow server or database.

    Returns:
        The finished tracker, for its `run_id` and `run_url`.

    Raises:
        ServiceError: when the server cannot be used.
    """
    from segpipe.tracking.mlflow import Tracker

    names = [run["name"] for run in report["runs"]]
    config = {"metric": report["metric"], "best": report["best"], "runs": names, "notes": report["notes"]}
    ids = ",".join(compared_run.run_id for compared_run in compared_runs if compared_run.run_id)
    tags = {"compared_runs": ids or None, "segpipe_version": __version__}
    tracker = Tracker.start(
        uri=uri, experiment=EXPERIMENT, run_name=" vs ".join(names), config=config, tags=tags, folder=folder
    )
    with tracker:
        if len(report["pairs"]) == 1:
            tracker.log_metrics(_differences(report["pairs"][0]), step=0)
        tracker.log_table([_row(pair) for pair in report["pairs"]], "comparison/pairs")
        tracker.log_file(folder / "comparison.json", "comparison")
        tracker.log_file(folder / "comparison.html", "comparison")
    return tracker


def check_model(compared_run: ComparedRun) -> None:
    """Makes sure that a run has a model to register.

    Raises:
        DatasetError: for a plain evaluation.
    """
    if not (compared_run.model or compared_run.run_id):
        raise DatasetError(
            "the best run has no model that could be registered",
            facts={"run": compared_run.name},
            hint="compare run folders or MLflow runs",
        )


def register_best(best: ComparedRun, name: str, alias: str, *, uri: str, fallback_run: str) -> "RegisteredModel":
    """Registers the model of a run as a new version and lets the alias point to it.

    The LoggedModel of the run is registered as it is; where there is none, the run's model folder becomes one.

    Args:
        best: The run; it has a model.
        name: The registered model.
        alias: Points to the new version.
        uri: The MLflow server or database.
        fallback_run: The run that the model belongs to when `best` is not tracked.

    Raises:
        ModelError: when the model folder is damaged.
        ServiceError: when the server refuses it.
    """
    from segpipe.tracking.models.registry import has_model, register_model

    run_id = best.run_id or fallback_run
    if not has_model(run_id, uri=uri):
        _log_model(best, run_id, uri)
    return register_model(run_id, name, alias, uri=uri)


def _log_model(best: ComparedRun, run_id: str, uri: str) -> None:
    from segpipe.export.model_folder import read_model_folder
    from segpipe.pipelines.observers.mlflow_model import describe_model
    from segpipe.tracking.fetching import fetch_artifact
    from segpipe.tracking.models.registry import log_model

    with tempfile.TemporaryDirectory() as folder:
        model = read_model_folder(best.model or fetch_artifact(run_id, "model", Path(folder), uri=uri))
        log_model(run_id, model.path, describe_model(model), uri=uri)


def _differences(pair: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for part, prefix in (("metrics", ""), ("lesions", "lesion_")):
        for name, row in pair[part].items():
            found |= {f"difference/{prefix}{name}": row["difference"], f"p/{prefix}{name}": row.get("p_holm")}
    return {name: value for name, value in found.items() if value is not None}


def _row(pair: Mapping[str, Any]) -> dict[str, Any]:
    figures = {f"{name} difference": row["difference"] for name, row in pair["metrics"].items()}
    p_values = {f"{name} p": row.get("p_holm") for name, row in pair["metrics"].items()}
    return {"first": pair["first"], "second": pair["second"], "cases": pair["cases_shared"], **figures, **p_values}
