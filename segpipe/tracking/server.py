"""Reaching an MLflow server or database: quickly, politely and with an error that says what to do."""

import logging
import os
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from segpipe.errors import ConfigError, ServiceError
from segpipe.system.credentials import Address, set_credentials_apart, whole_address, without_secrets

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

ARTIFACT_FOLDER = "mlartifacts"
ANSWER_WITHIN_S = 5.0
_MADE_WITHIN_S = 60.0
_DATABASE_TRIES = 5  # 3 seconds; MLflow's own ten are 100
_SQLITE = "sqlite:///"
_lent: dict[str, tuple[str, str | None]] = {}
_SIGN_IN_HINT = (
    "export MLFLOW_TRACKING_USERNAME=… and MLFLOW_TRACKING_PASSWORD=…, or MLFLOW_TRACKING_TOKEN=…; no run keeps them"
)
_SERVER_HINT = (
    "start it (mlflow server --host HOST --port PORT), correct tracking.uri=, or use tracking.uri=sqlite:///mlflow.db"
)
_DATABASE_HINT = (
    "is it there, and does it want user and password, which no run keeps? export MLFLOW_TRACKING_URI=… (all of it), "
    "or use tracking.uri=sqlite:///mlflow.db"
)
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
        uri: `sqlite:///mlflow.db`, another database or `http(s)://…`; its user and password may be in the environment.

    Raises:
        ConfigError: when `uri` is a folder; MLflow has given up its file store.
        ServiceError: when nothing answers there.
    """
    shown = set_credentials_apart(uri)
    _check_scheme(shown)
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    address = whole_address(shown)
    _sign_in(address)
    if is_server(shown) and (problem := silence(shown)):
        raise unreachable(shown, problem)
    from mlflow.store.db import utils as databases
    from mlflow.tracking import MlflowClient

    _silence_secrets()
    databases.MAX_RETRY_COUNT = _DATABASE_TRIES
    try:
        with _made_by_one(shown):
            client = MlflowClient(tracking_uri=shown if is_server(shown) else absolute_uri(address.whole))
            client.search_experiments(max_results=1)
    except Exception as error:
        raise unreachable(shown, error) from None  # a driver of a database may quote what it was given
    return client


def is_server(uri: str) -> bool:
    """True for an address that is asked over HTTP."""
    return uri.startswith(("http://", "https://"))


def is_yet_to_be_made(uri: str) -> bool:
    """True for a SQLite file that is not there; `connect` makes it."""
    return uri.startswith(_SQLITE) and not _database_file(uri).exists()


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
            facts={"experiment": name, "server": set_credentials_apart(uri)},
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
    shown = set_credentials_apart(uri)
    reason = without_secrets(error).strip().splitlines() or [type(error).__name__]
    refused = is_server(shown) and _status(error) in (401, 403)
    return ServiceError(
        "the MLflow server refuses user and password" if refused else "the MLflow server cannot be used",
        facts={"tracking.uri": shown, "found": reason[0][:300]},
        hint=_SIGN_IN_HINT if refused else _SERVER_HINT if is_server(shown) else _DATABASE_HINT,
    )


def _sign_in(address: Address) -> None:
    """Lends MLflow's client user and password by its own variables, so that no address that it quotes holds them.

    What was lent for another server is taken back first.
    """
    for name, (lent, before) in _lent.items():
        if os.environ.get(name) == lent:
            os.environ.pop(name)
            os.environ.update({name: before} if before is not None else {})
    _lent.clear()
    if is_server(address.shown) and address.user:
        for name, value in _variables(address).items():
            _lent[name] = value, os.environ.get(name)
            os.environ[name] = value


def _variables(address: Address) -> dict[str, str]:
    """MLflow's variables for whoever signs in; a name without a password is a token."""
    if not address.password:
        return {"MLFLOW_TRACKING_TOKEN": address.user}
    return {"MLFLOW_TRACKING_USERNAME": address.user, "MLFLOW_TRACKING_PASSWORD": address.password}


def _silence_secrets() -> None:
    """MLflow's own log quotes what databases say of an address."""
    for handler in logging.getLogger("mlflow").handlers:
        handler.addFilter(_hide_secrets)


def _hide_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), None
    return True


def _status(error: Any) -> int | None:
    """The HTTP status with which MLflow's client was refused, if it was."""
    from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, MlflowException

    return ERROR_CODE_TO_HTTP_STATUS.get(error.error_code) if isinstance(error, MlflowException) else None


@contextmanager
def _made_by_one(uri: str) -> Iterator[None]:
    """The tables of a SQLite file are made by one process, and others that start at the same time wait for it."""
    if not uri.startswith(_SQLITE):
        yield
        return
    file = _database_file(uri)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{file}.lock")
    with suppress(OSError, NotImplementedError):  # no locks here, or held for long: then it is tried without
        lock.acquire(timeout=_MADE_WITHIN_S)
    try:
        yield
    finally:
        if lock.is_locked:
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


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
