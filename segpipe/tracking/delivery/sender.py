"""From a waiting message to a call of MLflow's client."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segpipe.system.credentials import without_secrets
from segpipe.tracking.delivery.spool import UnreachableError
from segpipe.tracking.delivery.spool_file import Message
from segpipe.tracking.models.logged_model import find_run_model, log_run_model
from segpipe.tracking.server import is_server, silence

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

METRICS_PER_BATCH = 1000
PARAMETERS_PER_BATCH = 100
LONGEST_TAG = 8000
_TRIES = 3


class Sender:
    """Sends messages of one run.

    Args:
        client: The server.
        run_id: The run.
        folder: The run's folder, from which the paths of messages count.
    """

    def __init__(self, client: "MlflowClient", run_id: str, folder: Path) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder
        self._address = str(client.tracking_uri)
        self._silent = False

    def __call__(self, message: Message) -> None:
        """Sends one message.

        Raises:
            UnreachableError: when the server does not answer.
            Exception: what the server has against this message, after a few tries.
        """
        if self._silent and not self._answers():
            raise UnreachableError(f"{self._address} is silent")
        for attempt in range(_TRIES):
            try:
                getattr(self, f"_send_{message['kind']}")(message)
                return
            except Exception as error:
                if not self._answers():
                    raise UnreachableError(_first_line(error)) from error
                if attempt == _TRIES - 1:
                    raise
                time.sleep(1.0)  # e.g. a SQLite file that another run has locked

    def _answers(self) -> bool:
        """Asks for the run; a server that hangs is found out sooner than by MLflow's own patience."""
        self._silent = (is_server(self._address) and silence(self._address) is not None) or not self._finds_run()
        return not self._silent

    def _finds_run(self) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_run(self._run_id)
        except MlflowException as error:
            return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")
        except Exception:
            return False
        return True

    def _send_metrics(self, message: Message) -> None:
        from mlflow.entities import Metric

        for rows in _batches(message["rows"], METRICS_PER_BATCH):
            self._client.log_batch(self._run_id, metrics=[Metric(*row) for row in rows])

    def _send_evaluation(self, message: Message) -> None:
        """Sends figures of the run's model on a data set, which MLflow shows on the pages of all three."""
        from mlflow.entities import Metric

        model_id = find_run_model(self._client, self._run_id)
        linked = {"model_id": model_id, "dataset_name": message["dataset"], "dataset_digest": message["digest"]}
        for rows in _batches(message["rows"], METRICS_PER_BATCH):
            metrics = [Metric(*row, **(linked if model_id else {})) for row in rows]
            self._client.log_batch(self._run_id, metrics=metrics)

    def _send_model(self, message: Message) -> None:
        log_run_model(self._client, self._run_id, self._folder / message["path"], message["model"])

    def _send_params(self, message: Message) -> None:
        from mlflow.entities import Param

        for rows in _batches(message["params"].items(), PARAMETERS_PER_BATCH):
            self._client.log_batch(self._run_id, params=[Param(*row) for row in rows])

    def _send_tags(self, message: Message) -> None:
        from mlflow.entities import RunTag

        tags = ((key, str(value)[:LONGEST_TAG]) for key, value in message["tags"].items())
        for rows in _batches(tags, PARAMETERS_PER_BATCH):
            self._client.log_batch(self._run_id, tags=[RunTag(*row) for row in rows])

    def _send_text(self, message: Message) -> None:
        self._client.log_text(self._run_id, message["text"], message["name"])

    def _send_table(self, message: Message) -> None:
        """Writes the table anew: MLflow's own log_table would append to that of an earlier try."""
        self._client.log_text(self._run_id, message["text"], message["name"])
        known = json.loads(self._client.get_run(self._run_id).data.tags.get("mlflow.loggedArtifacts", "[]"))
        entry = {"path": message["name"], "type": "table"}
        if entry not in known:
            self._client.set_tag(self._run_id, "mlflow.loggedArtifacts", json.dumps([*known, entry]))

    def _send_file(self, message: Message) -> None:
        self._client.log_artifact(self._run_id, str(self._folder / message["path"]), message["folder"] or None)

    def _send_folder(self, message: Message) -> None:
        self._client.log_artifacts(self._run_id, str(self._folder / message["path"]), message["name"])

    def _send_dataset(self, message: Message) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        facts: Mapping[str, Any] = message["dataset"]
        tag = InputTag("mlflow.data.context", message["context"])
        self._client.log_inputs(self._run_id, datasets=[DatasetInput(Dataset(**facts), [tag])])

    def _send_status(self, message: Message) -> None:
        self._client.set_terminated(self._run_id, message["status"], message["time"])


def _batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    every = list(rows)
    for start in range(0, len(every), size):
        yield every[start : start + size]


def _first_line(error: Exception) -> str:
    return (without_secrets(error).splitlines() or [type(error).__name__])[0][:200]
