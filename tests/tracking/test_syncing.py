"""`sync` sends what an outage kept, once, ends the runs that were killed, and leaves those alone that are going on."""

import json
import os

import pytest

from segpipe.cli.sync import run as sync
from segpipe.errors import ConfigError, ServiceError
from segpipe.system.files.held_folder import MARK, hold
from segpipe.tracking import syncing
from segpipe.tracking.identity import write_tracked_run
from segpipe.tracking.mlflow import Tracker
from segpipe.tracking.server import connect
from segpipe.tracking.syncing import Syncing, SyncResult
from tests.tracking.fakes import Client

TEXT = {"kind": "text", "name": "t.txt", "text": "t"}
STATUS = {"kind": "status", "status": "FINISHED", "time": 5}


@pytest.fixture
def client(monkeypatch):
    found = Client()
    monkeypatch.setattr(syncing, "connect", lambda uri: found)
    return found


def make_run(folder, *messages, killed=False):
    folder.mkdir(parents=True)
    write_tracked_run(folder, "0" * 32, "sqlite:///nowhere.db")
    if messages:
        (folder / ".tracking").mkdir()
        lines = "".join(json.dumps(message) + "\n" for message in messages)
        (folder / ".tracking" / "unsent.jsonl").write_text(lines)
    if killed:
        (folder / MARK).touch()
    return folder


def test_what_waits_is_sent_once(tmp_path, client, capsys):
    run = make_run(tmp_path / "runs" / "a", TEXT, STATUS)
    assert sync([str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{run}: 2 messages sent\n"
    assert [name for name in client.calls if name != "get_run"] == ["log_text", "set_terminated"]
    assert client.status == "FINISHED"
    assert sorted(file.name for file in run.iterdir()) == [".tracking", "tracking.json"]
    calls = len(client.calls)
    assert sync([str(run)]) == 0
    assert capsys.readouterr().out == f"{run}: up to date\n"
    assert len(client.calls) == calls


def test_a_killed_run_is_ended_when_it_was_last_seen_and_can_still_be_resumed(tmp_path, client, monkeypatch):
    run = make_run(tmp_path / "a", TEXT, killed=True)
    for file in run.iterdir():
        os.utime(file, (7, 7))
    ended = []
    monkeypatch.setattr(client, "_set_terminated", lambda *given: ended.append(given), raising=False)
    assert Syncing().sync(run) == SyncResult(sent=1, ended=True)
    assert ended == [("0" * 32, "KILLED", 7000)]
    assert (run / MARK).exists()
    client.status = "FAILED"
    assert Syncing().sync(run) == SyncResult()


def test_a_fold_of_a_killed_cross_validation_is_ended(tmp_path, client):
    family = make_run(tmp_path / "cv", killed=True)
    fold = make_run(family / "fold_0")
    assert Syncing().sync(fold) == SyncResult(ended=True)
    assert not (fold / MARK).exists()


def test_a_run_that_is_going_on_is_left_alone(tmp_path, client, capsys):
    family = make_run(tmp_path / "cv")
    make_run(family / "fold_0", TEXT)
    with hold(family):
        assert sync([str(tmp_path)]) == 2
    assert capsys.readouterr().out == (
        f"{family}: another process is at work in this folder\n"
        f"{family / 'fold_0'}: 1 messages wait, another process is at work in this folder\n"
    )
    assert client.calls == []


def test_a_server_that_is_away_is_asked_once(tmp_path, monkeypatch, capsys):
    asked = []

    def refuse(uri):
        asked.append(uri)
        raise ServiceError("the MLflow server cannot be used", facts={"found": "refused"})

    monkeypatch.setattr(syncing, "connect", refuse)
    for name in "ab":
        make_run(tmp_path / name, TEXT)
    assert sync([str(tmp_path), "--tracking-uri", "http://elsewhere"]) == 2
    problem = "1 messages wait, the MLflow server cannot be used (refused)"
    assert capsys.readouterr().out == f"{tmp_path / 'a'}: {problem}\n{tmp_path / 'b'}: {problem}\n"
    assert asked == ["http://elsewhere"]


def test_a_server_that_does_not_know_the_run_gets_nothing(tmp_path, client):
    run = make_run(tmp_path / "a", TEXT)
    client.fails_from, client.error = 0, RuntimeError("no such run")
    result = Syncing().sync(run)
    assert (result.kept, result.problem) == (1, "the server does not give the run (no such run)")
    assert client.calls == ["get_run"]


def test_a_server_that_goes_away_keeps_the_rest(tmp_path, client):
    run = make_run(tmp_path / "a", TEXT, {**TEXT, "name": "late.txt"}, killed=True)
    client.fails_from, client.error = 2, ConnectionError()
    assert Syncing().sync(run) == SyncResult(sent=1, kept=1, problem="the server went away")
    client.fails_from = None
    assert Syncing().sync(run) == SyncResult(sent=1, ended=True)


def test_a_run_that_the_server_does_not_end_says_so(tmp_path, client):
    run = make_run(tmp_path / "a", killed=True)
    client.fails_from, client.error = 2, RuntimeError("odd")
    assert Syncing().sync(run).problem == "the server does not end the run (odd)"


def test_a_run_without_its_server_says_so(tmp_path, client):
    run = make_run(tmp_path / "a", TEXT)
    (run / "tracking.json").write_text('{"run_id": "x"}')
    assert "name it with --tracking-uri" in Syncing().sync(run).problem
    assert Syncing("sqlite:///nowhere.db").sync(run).sent == 1
    (run / "tracking.json").write_text("{")
    (run / MARK).touch()
    assert Syncing().sync(run).problem == "tracking.json cannot be read"


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no tracked run"):
        sync([str(tmp_path)])
    with pytest.raises(ConfigError, match="there is no such folder"):
        sync([str(tmp_path / "nowhere")])


@pytest.mark.slow
def test_a_real_database_gets_what_waited(tmp_path, new_database):
    uri, run = new_database(tmp_path), tmp_path / "run"
    tracker = Tracker.start(uri=uri, experiment="e", run_name="r", config={"a": 1}, tags={}, folder=run)
    tracker._spool.close()  # as if its process were killed, in the middle of an outage
    rows = [["train/loss", 0.5, 7, step] for step in range(3)]
    (run / ".tracking").mkdir()
    (run / ".tracking" / "unsent.jsonl").write_text(json.dumps({"kind": "metrics", "rows": rows}) + "\n" + '{"ki')
    (run / MARK).touch()
    assert Syncing().sync(run) == SyncResult(sent=1, ended=True)
    assert Syncing().sync(run) == SyncResult()
    client = connect(uri)
    assert client.get_run(tracker.run_id).info.status == "KILLED"
    assert [point.step for point in client.get_metric_history(tracker.run_id, "train/loss")] == [0, 1, 2]
