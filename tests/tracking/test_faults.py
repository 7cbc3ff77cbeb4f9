"""Whatever MLflow's client raises, at whichever call, a run goes on and ends as it would have."""

import json

import pytest

from segpipe.errors import ServiceError
from segpipe.tracking.delivery import sender
from segpipe.tracking.identity import read_run_id
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.syncing import Syncing, SyncResult, find_tracked_runs
from segpipe.tracking.trackers import closed_at_end
from tests.tracking.fakes import Client

CALLS = 13
ERRORS = [OSError(28, "No space left on device"), RuntimeError("odd"), SystemExit(3), MemoryError()]


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.setattr(sender, "_TRIES", 1)

    def begin(client, **changes):
        monkeypatch.setattr("segpipe.tracking.mlflow.connect", lambda uri: client)
        facts = {"uri": client.tracking_uri, "experiment": "e", "run_name": "r", "config": {"a": 1}, "tags": {}}
        return Tracker.start(**{**facts, "folder": tmp_path, **changes})

    return begin


def log_everything(tracker, folder):
    tracker.log_metrics({"train/loss": 1.0}, 0)
    tracker.log_table([{"case": "a"}], "cases")
    tracker.log_text("t", "t.txt")
    (folder / "f").write_text("x")
    tracker.log_file(folder / "f")
    tracker.log_folder(folder, "all")
    tracker.log_dataset("d", "0", source="s", counts={})
    return tracker.finish()


def test_all_calls_are_known(start, tmp_path):
    client = Client()
    assert log_everything(start(client), tmp_path) == 0
    assert len(client.calls) == CALLS
    assert client.status == "FINISHED"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("number", range(2, CALLS))
def test_a_call_that_fails_ends_nothing(start, tmp_path, number, error):
    tracker = start(Client(fails_from=number, error=error))
    assert log_everything(tracker, tmp_path) >= 0
    assert not tracker._spool._thread.is_alive()


@pytest.mark.parametrize("number", range(2))
def test_what_fails_before_the_run_is_there_is_refused(start, number):
    with pytest.raises(ServiceError, match="cannot be used"):
        start(Client(fails_from=number, error=RuntimeError("odd")))


def test_a_folder_that_takes_no_note_of_the_run_ends_nothing(start, tmp_path, caplog):
    (tmp_path / "full").write_text("a file where the folder should be")
    assert start(Client(), folder=tmp_path / "full").finish() == 0
    assert "the run goes on (noting the run's id" in caplog.text


def test_what_waits_at_the_end_is_said_with_the_command_that_sends_it(start, tmp_path, caplog):
    tracker = start(Client(fails_from=2, error=ConnectionError()))
    assert tracker.finish() == 4
    assert f"4 messages wait; once it answers: python -m segpipe sync {tmp_path}" in caplog.text
    lines = (tmp_path / ".tracking" / "unsent.jsonl").read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["params", "text", "tags", "status"]


@pytest.fixture
def away(start, monkeypatch):
    """Starts a tracker whose server does not answer; returns it and what brings the server back."""

    def refuse(uri):
        raise ServiceError("the MLflow server cannot be used", facts={"found": "refused"})

    def begin(client, **changes):
        monkeypatch.setattr("segpipe.tracking.mlflow.connect", refuse)
        facts = {"uri": client.tracking_uri, "experiment": "e", "run_name": "r", "config": {"a": 1}, "tags": {}}
        tracker = Tracker.start(**{**facts, **changes}, may_wait=True)
        return tracker, lambda: monkeypatch.setattr("segpipe.tracking.mlflow.connect", lambda uri: client)

    return begin


def test_a_run_that_starts_in_an_outage_is_opened_when_the_server_answers(away, tmp_path, caplog):
    client = Client()
    tracker, bring_back = away(client, folder=tmp_path)
    tracker.log_metrics({"train/loss": 1.0}, 0)
    assert tracker.flush() == 4
    assert tracker.run_id is None
    assert tracker.run_url.endswith("nowhere.db has not answered yet")
    assert "MLflow gets this run when it answers: ServiceError: the MLflow server cannot be used" in caplog.text
    bring_back()
    assert tracker.finish() == 0
    assert read_run_id(tmp_path) == tracker.run_id == "0" * 32
    assert sorted(file.name for file in tmp_path.rglob("*")) == [".tracking", "tracking.json"]
    assert client.calls.count("create_run") == 1
    assert client.status == "FINISHED"


def test_a_run_that_ends_in_an_outage_is_opened_by_sync_or_when_it_is_resumed(away, start, tmp_path, monkeypatch):
    for name in ("synced", "resumed"):
        tracker, _ = away(Client(), folder=tmp_path / name)
        assert tracker.finish() == 4
    client = Client()
    monkeypatch.setattr("segpipe.tracking.syncing.connect", lambda uri: client)
    assert find_tracked_runs([tmp_path]) == [tmp_path / "resumed", tmp_path / "synced"]
    assert Syncing().sync(tmp_path / "synced") == SyncResult(sent=4)
    assert client.status == "FINISHED"
    assert Syncing().sync(tmp_path / "synced") == SyncResult()
    client = Client()
    assert start(client, folder=tmp_path / "resumed", run_id=read_run_id(tmp_path / "resumed")).finish() == 0
    assert client.calls.count("create_run") == 1
    assert Syncing().sync(tmp_path / "resumed") == SyncResult()


class Broken:
    def close(self, error=None):
        raise RuntimeError("odd")


def test_a_tracker_that_cannot_be_closed_ends_nothing(caplog):
    with closed_at_end(Broken()):
        pass
    with pytest.raises(KeyError), closed_at_end(Broken()):
        raise KeyError
    assert caplog.text.count("ending the MLflow run: RuntimeError: odd") == 2
    with closed_at_end(None):
        pass
