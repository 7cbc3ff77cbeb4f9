"""A real MLflow server that dies, hangs and comes back while a run is logged."""

import signal

import pytest

from segpipe.errors import ServiceError
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.mlflow import SPOOL, Tracker
from segpipe.tracking.server import connect
from tests.peers.mlflow_server import Server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server_of_the_file(tmp_path_factory, new_database):
    """One for all, since it takes seconds of computing to start."""
    folder = tmp_path_factory.mktemp("server")
    server = Server(folder, new_database(folder))
    yield server
    server.stop()


@pytest.fixture
def server(server_of_the_file, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    if not server_of_the_file.is_up():
        server_of_the_file.start()
    return server_of_the_file


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
