"""Registered models: a model folder under a name and an alias, opened by MLflow's own pyfunc flavour."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segpipe import __version__
from segpipe.errors import ServiceError
from segpipe.tracking.server import absolute_uri, connect, unreachable

LOADER = "segpipe.inference.pyfunc"
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


@dataclass(frozen=True)
class Signature:
    """Columns and MLflow types of a model's tables.

    Args:
        inputs: Column → type.
        outputs: Column → type.
        required: Inputs that every row must have.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    required: tuple[str, ...]


def register_model(
    run_id: str,
    name: str,
    alias: str,
    model_folder: Path,
    *,
    uri: str,
    signature: Signature,
    tags: Mapping[str, Any] | None = None,
) -> RegisteredModel:
    """Registers a model folder as a new version and lets the alias point to it.

    Args:
        run_id: The run that made the model.
        name: The registered model; created when new.
        alias: e.g. `champion`; moves here from an earlier version.
        model_folder: A verified model folder; it travels whole.
        uri: The MLflow server or database.
        signature: The tables that the model takes and gives.
        tags: Facts of the version, e.g. data hash and recipe digest.

    Raises:
        ServiceError: when the server does not answer or refuses the model.
    """
    client = connect(uri)
    try:
        with _tracking_at(absolute_uri(uri)), warnings.catch_warnings():
            # MLflow warns of type hints of its own and of a missing example; no patient's scan travels as an example
            warnings.simplefilter("ignore")
            version = _log_model(run_id, name, model_folder, signature)
        client.set_registered_model_alias(name, alias, version)
        for key, value in (tags or {}).items():
            client.set_model_version_tag(name, version, key, str(value))
    except Exception as error:
        raise unreachable(uri, error) from error
    return RegisteredModel(name, version, alias)


def fetch_model(name: str, alias: str, folder: Path, *, uri: str) -> Path:
    """Downloads a registered model and returns the model folder inside it.

    Raises:
        ServiceError: when there is no such model.
    """
    client = connect(uri)
    try:
        version = client.get_model_version_by_alias(name, alias)
        with _tracking_at(absolute_uri(uri)):
            from mlflow.artifacts import download_artifacts

            home = Path(download_artifacts(artifact_uri=f"models:/{name}/{version.version}", dst_path=str(folder)))
    except Exception as error:
        raise unreachable(uri, error) from error
    found = sorted(home.glob("data/*/segpipe.json"))
    if not found:
        raise ServiceError("the registered model holds no model folder", facts={"model": f"{name}@{alias}"})
    return found[0].parent


def _log_model(run_id: str, name: str, model_folder: Path, signature: Signature) -> str:
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    inputs: Any = [ColSpec(kind, column, column in signature.required) for column, kind in signature.inputs.items()]
    outputs: Any = [ColSpec(kind, column) for column, kind in signature.outputs.items()]
    info = Model.log(
        artifact_path=None,
        name="model",
        flavor=mlflow.pyfunc,
        run_id=run_id,
        registered_model_name=name,
        loader_module=LOADER,
        data_path=str(model_folder),
        signature=ModelSignature(Schema(inputs), Schema(outputs)),
        # named here, since guessing them would import and run the model
        pip_requirements=[f"segpipe=={__version__}"],
    )
    return str(info.registered_model_version)


@contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    """MLflow's registry functions know one global address, also told to child processes; both are put back."""
    import mlflow

    before, told = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if told is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
