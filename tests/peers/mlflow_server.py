"""A real MLflow server that tests stop and start again."""

import os
import signal
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tests.support.processes import Process, as_main
from tests.support.workers import free_port

ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "no_proxy": "*"}


class Server:
    """An `mlflow server` process of our own on a free port.

    Args:
        folder: Where it keeps artifacts and its log.
        store: The database that it serves.
    """

    def __init__(self, folder: Path, store: str) -> None:
        self.folder, self.store, self.port = folder, store, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: Process | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        words = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        words += ["--backend-store-uri", self.store, "--artifacts-destination", str(self.folder / "artifacts")]
        log = self.folder / "server.log"
        self.process = Process(serve, words, cwd=self.folder, log=log, environment=ENVIRONMENT)
        self.process.wait_for(self._answers)

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
            return True
        time.sleep(0.1)
        return False

    def is_up(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.returncode is None

    def send(self, number: int) -> None:
        """Sends it a signal, and all that it has started."""
        assert self.process
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """Kills it, if it runs."""
        if self.process and self.is_up():
            self.send(signal.SIGKILL)
            self.process.wait()


def serve(words: Sequence[str]) -> None:
    """What `mlflow WORDS…` does, in a group of its own, and in one process."""
    os.setsid()
    from mlflow import server

    server._exec_cmd = _answer_here
    as_main("mlflow", list(words))


def _answer_here(command: Sequence[str], *, extra_env: Mapping[str, str], **_: object) -> NoReturn:
    """What mlflow starts another Python for, `python -m MODULE WORDS…`, which would import everything anew."""
    os.environ.update(extra_env)
    _, _, module, *words = command
    as_main(module, words)
    raise SystemExit
