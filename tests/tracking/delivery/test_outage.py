"""A real MLflow server that dies, hangs and comes back while a run is logged."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import pytest

from segpipe.errors import ServiceError
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.mlflow import SPOOL, Tracker
from segpipe.tracking.server import connect
from tests.workers import free_port

pytestmark = pytest.mark.slow


class Server:
    """An `mlflow server` process of our own on a free port."""

    def __init__(self, folder, store):
        self.store = store
        self.port = free_port()
        self.folder, self.uri, self.process = folder, f"http://127.0.0.1:{self.port}", None

    def start(self):
        words = ["server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        places = ["--backend-store-uri", self.store, "--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", *words, *places],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )
        for _ in range(240):
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return
            time.sleep(0.5)
        raise AssertionError((self.folder / "server.log").read_text())

    def send(self, what):
        os.killpg(self.process.pid, what)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch, new_database):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Server(tmp_path, new_database(tmp_path))
    found.start()
    yield found
    found.stop()


def start(server, folder, **changes):
    facts = {"uri": server.uri, "experiment": "e", "run_name": "r", "config": {"a": 1}, "tags": {}}
    return Tracker.start(**{**facts, "folder": folder, **changes})


def steps(server, run_id):
    return [point.step for point in connect(server.uri).get_metric_history(run_id, "train/loss")]


@pytest.mark.parametrize("how", ["killed", "hanging"])
def test_training_goes_on_without_the_server_and_resuming_sends_the_rest(server, tmp_path, monkeypatch, how):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    run = tmp_path / "run"
    tracker = start(server, run)
    for step in range(10):
        tracker.log_metrics({"train/loss": 1.0}, step)
    assert tracker.flush() == 0
    if how == "killed":
        server.stop()
    else:
        server.send(signal.SIGSTOP)
    for step in range(10, 20):
        tracker.log_metrics({"train/loss": 0.5}, step)
    (run / "curves.png").write_bytes(b"a picture")
    tracker.log_file(run / "curves.png", "figures")
    assert tracker.finish() == 3  # the metrics in one message, the figure and the end of the run
    with pytest.raises(ServiceError, match="cannot be used"):
        start(server, run, run_id=read_run_id(run))
    if how == "killed":
        server.start()
    else:
        server.send(signal.SIGCONT)
    resumed = start(server, run, run_id=read_run_id(run))
    resumed.log_metrics({"train/loss": 0.25}, 20)
    assert resumed.finish() == 0
    assert steps(server, tracker.run_id) == list(range(21))
    assert not (run / SPOOL / "unsent.jsonl").exists()
    client = connect(server.uri)
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(tracker.run_id)] == ["config.yaml", "figures"]
    assert tracker.run_url == f"{server.uri}/#/experiments/1/runs/{tracker.run_id}?workflowType=machine_learning"


def test_a_server_that_comes_back_during_training_gets_everything(server, tmp_path):
    tracker = start(server, tmp_path / "run")
    tracker.flush()
    server.stop()
    tracker.log_metrics({"train/loss": 1.0}, 0)
    assert tracker.flush() == 1
    server.start()
    tracker.log_metrics({"train/loss": 0.5}, 1)
    assert tracker.finish() == 0
    assert steps(server, tracker.run_id) == [0, 1]
