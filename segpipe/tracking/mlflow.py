"""The tracker of a run: one object that takes everything from training and never holds it up."""

import getpass
import json
import logging
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from segpipe.errors import ServiceError, explain
from segpipe.system.credentials import set_credentials_apart
from segpipe.tracking.delivery.sender import Sender
from segpipe.tracking.delivery.spool import Spool, UnreachableError
from segpipe.tracking.delivery.spool_file import Message
from segpipe.tracking.harmless import harmless
from segpipe.tracking.metric_names import summary_metrics
from segpipe.tracking.opening import SPOOL, OpenedRun, OpenRequest
from segpipe.tracking.parameters import config_text, cut_values, flatten
from segpipe.tracking.server import absolute_uri, connect, is_server
from segpipe.tracking.tables import table_text

if TYPE_CHECKING:
    from segpipe.tracking.system import SystemWatch

__all__ = ["SPOOL", "Tracker", "flatten"]
log = logging.getLogger(__name__)
Status = Literal["FINISHED", "FAILED", "KILLED"]
UNSENT = "unsent.jsonl"
_FOR_TRAININGS = "workflowType=machine_learning"  # MLflow's pages for trainings, not for chat bots


class Tracker:
    """One MLflow run; made by `Tracker.start`, used by rank 0 alone.

    All `log_` methods return at once. While the server does not answer, what they take is kept in `.tracking/` of the
    run's folder and sent when it answers again, at `finish`, or when the run is resumed.
    """

    def __init__(self, request: OpenRequest, folder: Path, run: OpenedRun | None) -> None:
        self.uri, self.folder = absolute_uri(request.uri), folder
        self._request, self._run = request, run
        self._sender = Sender(run.client, run.run_id, folder) if run else None
        self._spool = Spool(self._deliver, folder / SPOOL / UNSENT)
        self._watch: SystemWatch | None = None

    @classmethod
    def start(
        cls,
        *,
        uri: str,
        experiment: str,
        run_name: str,
        config: Mapping[str, Any],
        tags: Mapping[str, Any],
        run_id: str | None = None,
        folder: Path = Path(),
        parent: str | None = None,
        may_wait: bool = False,
    ) -> Self:
        """Opens a run, or continues the run `run_id`, and logs the whole configuration.

        Args:
            uri: `sqlite:///mlflow.db`, another database or `http(s)://…`.
            experiment: Name of the experiment; created when new.
            run_name: Name of the run.
            config: The resolved configuration as plain data: parameters, and whole as the artifact `config.yaml`.
            tags: Facts to search runs by; None values are left out.
            run_id: The run to continue.
            folder: The run's folder.
            parent: The run that holds this one, e.g. that of a cross-validation.
            may_wait: Whether the run is opened later where the server does not answer now.

        Raises:
            ConfigError: when `uri` is a folder.
            ServiceError: when the server does not answer or refuses the run, and it may not wait.
        """
        request = OpenRequest(set_credentials_apart(uri), experiment, run_name, _own_tags(tags, parent), run_id)
        try:
            run = request.open(connect(uri), folder)
        except ServiceError as error:
            if not may_wait:
                raise
            log.warning("MLflow gets this run when it answers: %s", explain(error))
            request.keep(folder)
            run = None
        tracker = cls(request, folder, run)
        with harmless("logging the configuration"):
            tracker._log_config(config, tags, run.params if run else {})
        return tracker

    @property
    def run_id(self) -> str | None:
        """The run's id; None as long as the server has not answered."""
        return self._run.run_id if self._run else None

    @property
    def run_url(self) -> str:
        """The run's page, or with a database the command that shows it."""
        if not self._run:
            return f"{self.uri} has not answered yet"
        page = f"#/experiments/{self._run.experiment_id}/runs/{self._run.run_id}?{_FOR_TRAININGS}"
        if is_server(self.uri):
            return f"{self.uri.rstrip('/')}/{page}"
        return f"mlflow ui --backend-store-uri {self.uri}   then   http://127.0.0.1:5000/{page}"

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Logs figures of a step; tensors with one element are numbers, too."""
        self._spool.put({"kind": "metrics", "rows": _rows(metrics, step)})

    def log_summary(self, summary: Mapping[str, Any], *, dataset: str | None = None) -> None:
        """Logs the numbers of an evaluation as metrics named alike for every run, e.g. `evaluation/dice`.

        They are figures of the run's model, if it was logged before, on a data set of the run.

        Args:
            summary: The content of `summary.json`.
            dataset: The name under which `log_dataset` logged the evaluated cases, with the summary's `data_hash`.
        """
        rows = _rows(summary_metrics(summary), step=0)
        digest = str(summary["data_hash"])[:36] if dataset else None
        self._spool.put({"kind": "evaluation", "rows": rows, "dataset": dataset, "digest": digest})

    def log_model(self, path: Path, model: Mapping[str, Any]) -> None:
        """Keeps a model folder as the run's LoggedModel.

        Args:
            path: The model folder.
            model: Columns, params and tags; see `log_run_model`.
        """
        self._spool.put({"kind": "model", "name": "model", "path": self._relative(path), "model": dict(model)})

    def log_table(self, table: Any, name: str) -> None:
        """Keeps a table that MLflow's pages show: a data frame, a list of rows or columns by name."""
        name = name if name.endswith(".json") else f"{name}.json"
        self._spool.put({"kind": "table", "name": name, "text": table_text(table)})

    def log_text(self, text: str, name: str) -> None:
        """Keeps a text as an artifact."""
        self._spool.put({"kind": "text", "name": name, "text": text})

    def log_file(self, path: Path, folder: str = "") -> None:
        """Keeps a file in an artifact folder."""
        self._spool.put({"kind": "file", "name": path.name, "path": self._relative(path), "folder": folder})

    def log_folder(self, path: Path, name: str) -> None:
        """Keeps all files of a folder in the artifact folder `name`."""
        self._spool.put({"kind": "folder", "name": name, "path": self._relative(path)})

    def log_dataset(
        self, name: str, digest: str, *, source: str, counts: Mapping[str, int], context: str = "training"
    ) -> None:
        """Says which data the run used.

        Args:
            name: The data set's name.
            digest: Its hash, at most 36 characters.
            source: What kind of source it was made from; no path.
            counts: e.g. cases, patients and lesions in this role.
            context: The role: training, validation or testing.
        """
        facts = {
            "name": name,
            "digest": digest[:36],
            "source_type": "segpipe",
            "source": json.dumps({"kind": source}),
        }
        dataset = {**facts, "profile": json.dumps(dict(counts))}
        self._spool.put({"kind": "dataset", "name": name, "dataset": dataset, "context": context})

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Adds or changes tags; None values are left out."""
        known = {key: str(value) for key, value in tags.items() if value is not None}
        self._spool.put({"kind": "tags", "tags": known})

    def describe(self, markdown: str) -> None:
        """Sets the description on top of the run's page."""
        self.set_tags({"mlflow.note.content": markdown})

    def watch_system(self, *, interval_s: float = 10.0) -> None:
        """Says CPU, memory, disk, network and GPU use until the run finishes."""
        from segpipe.tracking.system import SystemWatch

        with harmless("watching the system"):
            self._watch = SystemWatch(self.log_metrics, interval_s=interval_s)

    def flush(self) -> int:
        """Sends what waits; returns the number of messages that the server did not take yet."""
        return self._spool.flush()

    def finish(self, status: Status = "FINISHED") -> int:
        """Sends what waits and closes the run; returns the number of messages left in `.tracking/`."""
        with harmless("a last look at the system"):
            if self._watch:
                self._watch.stop()
        self._spool.put({"kind": "status", "status": status, "time": time.time_ns() // 1_000_000})
        left = self._spool.close()
        if left:
            command = shlex.join(["python", "-m", "segpipe", "sync", str(self.folder)])
            log.warning("MLflow did not get everything: %d messages wait; once it answers: %s", left, command)
        return left

    def close(self, error: BaseException | None = None) -> int:
        """Closes the run with the status that fits the error by which it ended, if any; see `finish`."""
        interrupted = error is not None and not isinstance(error, Exception)
        return self.finish("KILLED" if interrupted else "FAILED" if error else "FINISHED")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    def _deliver(self, message: Message) -> None:
        """Sends a message, and opens the run before the first one where that had to wait."""
        if self._sender is None:
            try:
                self._run = self._request.open(connect(self._request.uri), self.folder)
            except ServiceError as error:
                raise UnreachableError(error.facts.get("found", error.message)) from error
            self._sender = Sender(self._run.client, self._run.run_id, self.folder)
        self._sender(message)

    def _log_config(self, config: Mapping[str, Any], tags: Mapping[str, Any], earlier: Mapping[str, str]) -> None:
        params = flatten(config)
        changed = {key: value for key, value in params.items() if key in earlier and earlier[key] != value}
        fresh = {key: value for key, value in params.items() if key not in earlier}
        for path in cut_values(config):
            log.warning("%s is too long for an MLflow parameter; it is whole in the run's config.yaml", path)
        self._spool.put({"kind": "params", "params": fresh})
        self.log_text(config_text(config), "config.yaml")
        self.set_tags({**tags, **{f"resumed.{key}": value for key, value in changed.items()}})

    def _relative(self, path: Path) -> str:
        """Paths inside the run's folder stay valid when that folder is moved."""
        whole, home = path.resolve(), self.folder.resolve()
        return str(whole.relative_to(home)) if whole.is_relative_to(home) else str(whole)


def _rows(metrics: Mapping[str, float], step: int) -> list[list[Any]]:
    now = time.time_ns() // 1_000_000
    return [[_metric_name(name), float(value), now, int(step)] for name, value in metrics.items()]


def _own_tags(tags: Mapping[str, Any], parent: str | None) -> dict[str, str]:
    own = {
        "mlflow.user": _user(),
        "mlflow.source.name": "segpipe",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": tags.get("git_commit"),
        "mlflow.parentRunId": parent,
    }
    return {key: str(value) for key, value in own.items() if value}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _metric_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-./ :" else "_" for letter in name)
