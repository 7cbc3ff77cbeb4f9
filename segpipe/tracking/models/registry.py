"""Registered models: the LoggedModel of a run under a name and an alias, which MLflow's pages and pyfunc open."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.errors import ServiceError
from segpipe.tracking.models.logged_model import find_run_model, log_run_model
from segpipe.tracking.server import connect, unreachable

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ALIAS = "champion"


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a registered model.

    Args:
        name: The registered model.
        version: Its version, counted by the server.
        alias: The name that points to this version.
    """

    name: str
    version: str
    alias: str

    @property
    def uri(self) -> str:
        """What `mlflow.pyfunc.load_model` takes."""
        return f"models:/{self.name}@{self.alias}"


def has_model(run_id: str, *, uri: str) -> bool:
    """Whether a run has a LoggedModel.

    Raises:
        ServiceError: when the server does not answer or does not know the run.
    """
    client = connect(uri)
    try:
        return find_run_model(client, run_id) is not None
    except Exception as error:
        raise unreachable(uri, error) from error


def log_model(run_id: str, model_folder: Path, model: Mapping[str, Any], *, uri: str) -> str | None:
    """Uploads a model folder as the LoggedModel of a run that has none; see `log_run_model`.

    Raises:
        ServiceError: when the server does not answer or refuses the model.
    """
    client = connect(uri)
    try:
        return log_run_model(client, run_id, model_folder, model)
    except Exception as error:
        raise unreachable(uri, error) from error


def register_model(run_id: str, name: str, alias: str, *, uri: str) -> RegisteredModel:
    """Registers the LoggedModel of a run as a new version, uploading nothing, and lets the alias point to it.

    Args:
        run_id: The run that made the model.
        name: The registered model; created when new.
        alias: e.g. `champion`; moves here from an earlier version.
        uri: The MLflow server or database.

    Raises:
        ServiceError: when the server does not answer, the run has no LoggedModel, or the server refuses it.
    """
    client = connect(uri)
    try:
        model_id = find_run_model(client, run_id)
        if model_id is None:
            raise ServiceError("the run has no model", facts={"run": run_id})
        _create_registered_model(client, name)
        with _tracking_at(str(client.tracking_uri)):
            made = client.create_model_version(name, f"models:/{model_id}", run_id, model_id=model_id)
        client.set_registered_model_alias(name, alias, str(made.version))
        for key, value in client.get_logged_model(model_id).tags.items():
            if not key.startswith("mlflow."):
                client.set_model_version_tag(name, str(made.version), key, value)
    except ServiceError:
        raise
    except Exception as error:
        raise unreachable(uri, error) from error
    return RegisteredModel(name, str(made.version), alias)


def fetch_model(name: str, alias: str, folder: Path, *, uri: str) -> Path:
    """Downloads a registered model and returns the model folder inside it.

    Raises:
        ServiceError: when there is no such model.
    """
    client = connect(uri)
    try:
        version = client.get_model_version_by_alias(name, alias)
        with _tracking_at(str(client.tracking_uri)):
            from mlflow.artifacts import download_artifacts

            home = Path(download_artifacts(artifact_uri=f"models:/{name}/{version.version}", dst_path=str(folder)))
    except Exception as error:
        raise unreachable(uri, error) from error
    found = sorted(home.glob("data/*/segpipe.json"))
    if not found:
        raise ServiceError("the registered model holds no model folder", facts={"model": f"{name}@{alias}"})
    return found[0].parent


@contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    """MLflow's registry functions know one global address, also handed to child processes; both are put back."""
    import mlflow

    before, in_environment = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if in_environment is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


def _create_registered_model(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
