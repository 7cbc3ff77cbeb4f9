"""How a run is opened on the server: at once, or later, also by another process, when the server answers again."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segpipe.errors import ServiceError
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.plain_files import read_json
from segpipe.tracking.harmless import harmless
from segpipe.tracking.identity import write_tracked_run
from segpipe.tracking.server import absolute_uri, experiment_id, unreachable

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SPOOL = ".tracking"
WAITING = Path(SPOOL, "opening.json")


@dataclass(frozen=True)
class OpenedRun:
    """A run on the server.

    Args:
        client: The server.
        run_id: The run.
        experiment_id: Its experiment.
        params: The parameters that it has.
    """

    client: "MlflowClient"
    run_id: str
    experiment_id: str
    params: Mapping[str, str]


@dataclass(frozen=True)
class OpenRequest:
    """What a run is opened with.

    Args:
        uri: The server or database, without user and password.
        experiment: Name of the experiment; created when new.
        run_name: Name of the run.
        tags: Tags that a new run has from the start.
        run_id: The run to continue.
        time_ms: When the run began, in milliseconds since 1970.
    """

    uri: str
    experiment: str
    run_name: str
    tags: Mapping[str, str]
    run_id: str | None = None
    time_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)

    def open(self, client: "MlflowClient", folder: Path) -> OpenedRun:
        """Opens the run, or continues it, and notes its id in the run's folder.

        Raises:
            ServiceError: when the server does not do it.
        """
        try:
            run = self._continue(client, self.run_id) if self.run_id else self._create(client)
        except ServiceError:
            raise
        except Exception as error:
            raise unreachable(self.uri, error) from error
        with harmless("noting the run's id, by which it would be resumed"):
            write_tracked_run(folder, run.run_id, absolute_uri(self.uri))
            (folder / WAITING).unlink(missing_ok=True)
        return run

    def keep(self, folder: Path) -> None:
        """Notes in the run's folder what is to be opened."""
        with harmless("noting what the run is opened with later"):
            (folder / WAITING).parent.mkdir(parents=True, exist_ok=True)
            write_json(folder / WAITING, {**asdict(self), "uri": absolute_uri(self.uri)}, what="the request for a run")

    def _create(self, client: "MlflowClient") -> OpenedRun:
        number = experiment_id(client, self.uri, self.experiment)
        run = client.create_run(number, self.time_ms, dict(self.tags), self.run_name)
        return OpenedRun(client, str(run.info.run_id), number, {})

    def _continue(self, client: "MlflowClient", run_id: str) -> OpenedRun:
        run = client.get_run(run_id)
        client.update_run(run_id, status="RUNNING")
        return OpenedRun(client, run_id, str(run.info.experiment_id), run.data.params)


def read_request(folder: Path) -> OpenRequest | None:
    """What the run of a folder is to be opened with; None where nothing waits for that."""
    with suppress(OSError, ValueError, TypeError):
        return OpenRequest(**read_json(folder / WAITING))
    return None
