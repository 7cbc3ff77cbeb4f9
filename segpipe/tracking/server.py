"""Reaching an MLflow server or database: quickly, politely and with an error that says what to do."""

import os
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.errors import ConfigError, ServiceError
from segpipe.tracking.parameters import mask_credentials

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ARTIFACT_FOLDER = "mlartifacts"
ANSWER_WITHIN_S = 5.0
_SQLITE = "sqlite:///"
_KIND = {"mlflow.experimentKind": "custom_model_development"}  # MLflow's pages for trainings, not for chat bots
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow's own seven retries would hold up the end of a run for four minutes; the spool retries instead
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def connect(uri: str) -> "MlflowClient":
    """Opens a server or database and makes sure that it answers.

    Args:
        uri: `sqlite:///mlflow.db`, another database or `http(s)://…`.

    Raises:
        ConfigError: when `uri` is a folder; MLflow has given up its file store.
        ServiceError: when nothing answers there.
    """
    _check_scheme(uri)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    address = absolute_uri(uri)
    if is_server(address):
        if problem := silence(address):
            raise unreachable(uri, problem)
    elif address.startswith(_SQLITE):
        _database_file(address).parent.mkdir(parents=True, exist_ok=True)
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(tracking_uri=address)
        client.search_experiments(max_results=1)
    except Exception as error:
        raise unreachable(uri, error) from error
    return client


def is_server(uri: str) -> bool:
    """True for an address that is asked over HTTP."""
    return uri.startswith(("http://", "https://"))


def silence(address: str) -> str | None:
    """Why a server does not answer within five seconds; None when it does.

    Any answer counts, also a refusal or a certificate that is not trusted: those are for MLflow to decide.
    """
    try:
        with urllib.request.urlopen(address, timeout=ANSWER_WITHIN_S):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return None if isinstance(reason, ssl.SSLError) else str(reason)


def absolute_uri(uri: str) -> str:
    """The same address with the path of a SQLite file made absolute, so that a change of folder does not matter."""
    if not uri.startswith(_SQLITE) or uri == _SQLITE:
        return uri
    return f"{_SQLITE}{_database_file(uri)}"


def experiment_id(client: "MlflowClient", uri: str, name: str) -> str:
    """Finds or creates an experiment; with a database its artifacts lie in `mlartifacts` next to it.

    Raises:
        ServiceError: when the experiment has been deleted on the server.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_location(uri, name), tags=_KIND))
        except Exception:
            # another run may have created it in between
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ServiceError(
            "the MLflow experiment has been deleted",
            facts={"experiment": name, "server": mask_credentials(uri)},
            hint=f"mlflow experiments restore --experiment-id {found.experiment_id}, or another tracking.experiment=",
        )
    return str(found.experiment_id)


def artifact_location(uri: str, experiment: str) -> str | None:
    """Where a new experiment keeps its artifacts; a server decides for itself."""
    if is_server(uri) or uri.startswith("databricks"):
        return None
    home = _database_file(uri).parent if uri.startswith(_SQLITE) else Path.cwd()
    return (home / ARTIFACT_FOLDER / re.sub(r"[^\w.\-]", "_", experiment)).as_uri()


def unreachable(uri: str, error: Any) -> ServiceError:
    """The error for a tracking server that does not do what it must."""
    reason = mask_credentials(str(error)).strip().splitlines() or [type(error).__name__]
    return ServiceError(
        "the MLflow server cannot be used",
        facts={"tracking.uri": mask_credentials(uri), "found": reason[0][:300]},
        hint="start it (mlflow server --host HOST --port PORT), correct tracking.uri=, or use tracking.uri=sqlite:///mlflow.db",
    )


def _check_scheme(uri: str) -> None:
    if ("://" in uri and not uri.startswith("file:")) or uri == "databricks":
        return
    raise ConfigError(
        "tracking.uri must be a database or a server, not a folder",
        facts={"tracking.uri": uri},
        hint="tracking.uri=sqlite:///mlflow.db or tracking.uri=http://HOST:PORT",
    )


def _database_file(uri: str) -> Path:
    return Path(uri.removeprefix(_SQLITE).partition("?")[0]).resolve()
