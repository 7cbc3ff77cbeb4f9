"""What a finished run left on an MLflow server, fetched to be compared."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.errors import DatasetError, ServiceError
from segpipe.system.credentials import set_credentials_apart
from segpipe.system.files.plain_files import read_json
from segpipe.tracking.server import connect, unreachable

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

SUMMARIES = ("summary.json", "evaluation/summary.json")
TABLES = ("evaluation/cases.json", "evaluation/lesions.json")


@dataclass(frozen=True)
class TrackedEvaluation:
    """The evaluation of a tracked run.

    Args:
        run_id: The run.
        name: Its name on the server.
        summary: The content of `summary.json`.
        cases: Rows of its table of cases.
        lesions: Rows of its table of lesions.
    """

    run_id: str
    name: str
    summary: dict[str, Any]
    cases: list[dict[str, Any]]
    lesions: list[dict[str, Any]]


def fetch_evaluation(run_id: str, *, uri: str) -> TrackedEvaluation:
    """Reads summary and tables of a run; those of a cross-validation are of all its folds' held-out cases.

    Raises:
        DatasetError: for a sweep, which has no evaluation of its own.
        ServiceError: when the server does not answer, does not know the run, or the run has no evaluation.
    """
    client = connect(uri)
    run = _find(client, run_id, uri)
    _refuse_sweep(run)
    name = str(run.info.run_name or run_id[:8])
    with tempfile.TemporaryDirectory() as folder:
        summary = _first_json(client, run_id, SUMMARIES, Path(folder))
        cases, lesions = (_rows(_first_json(client, run_id, (table,), Path(folder))) for table in TABLES)
    return TrackedEvaluation(run_id, name, summary, cases, lesions)


def fetch_artifact(run_id: str, artifact: str, folder: Path, *, uri: str) -> Path:
    """Downloads an artifact, a file or a folder, of a run into `folder`.

    Raises:
        ServiceError: when the server does not answer or the run has no such artifact.
    """
    client = connect(uri)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(client.download_artifacts(run_id, artifact, str(folder)))
    except Exception as error:
        raise ServiceError(
            "the run has no such artifact",
            facts={"run": run_id, "artifact": artifact, "server": set_credentials_apart(uri)},
        ) from error


def _find(client: "MlflowClient", run_id: str, uri: str) -> "Run":
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise unreachable(uri, error) from error
        raise ServiceError(
            "the MLflow server does not know the run",
            facts={"run": run_id, "server": set_credentials_apart(uri)},
            hint="name the server with --tracking-uri, e.g. sqlite:///mlflow.db",
        ) from error


def _refuse_sweep(run: "Run") -> None:
    tags = run.data.tags
    if tags.get("kind") == "sweep":
        best = tags.get("best_child")
        raise DatasetError(
            "a sweep has no evaluation of its own, its runs have",
            facts={"run": run.info.run_id, "name": run.info.run_name, "finished runs": tags.get("children", 0)},
            hint=f"compare its runs; the best by mean Dice is {best}"
            if best
            else "compare its runs once they are done",
        )


def _first_json(client: "MlflowClient", run_id: str, artifacts: tuple[str, ...], folder: Path) -> Any:
    for artifact in artifacts:
        try:
            return read_json(Path(client.download_artifacts(run_id, artifact, str(folder))))
        except Exception:
            continue
    raise ServiceError(
        "the run has no evaluation",
        facts={"run": run_id, "looked for": ", ".join(artifacts)},
        hint="compare finished runs",
    )


def _rows(table: Any) -> list[dict[str, Any]]:
    return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
