"""Observers see a run and cannot stop it: a report that fails is named at the end, tracking that fails is a warning."""

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

from segpipe.errors import OutputError, ServiceError
from segpipe.evaluation.evaluated_cases import EvaluatedCases
from segpipe.pipelines.observers import run_tracking
from segpipe.pipelines.observers.observer import Observers, Run
from segpipe.pipelines.observers.run_tracking import RunTracking
from segpipe.system.processes.stopping import Stopped, stoppable
from segpipe.training.run_result import RunResult


class Watcher:
    """Notes what it is notified of, and fails when asked to."""

    def __init__(self, error=None):
        self.error, self.seen = error, []

    def measured(self, metrics, step):
        self.seen.append((metrics, step))

    def finished(self, result):
        self.seen.append(result)
        if self.error:
            raise self.error

    def closed(self, error):
        self.seen.append(error)


RESULT = RunResult(None, None, None, {}, EvaluatedCases(), None)


def test_all_are_notified_although_one_fails_and_its_error_is_the_runs_problem(caplog):
    first, second = Watcher(OutputError("the report cannot be written")), Watcher()
    with Observers([first, second]) as observers:
        observers.measured({"train/loss": 1.0}, 3)
        problem = observers.finished(RESULT)
    assert problem.message == "the report cannot be written"
    assert "OutputError: the report cannot be written" in caplog.text
    assert first.seen == second.seen == [({"train/loss": 1.0}, 3), RESULT, None]
    assert replace(RESULT, problem=problem).exit_code == 2
    assert RESULT.exit_code == 0


class Interrupted(Watcher):
    """A job whose process is asked to end while it says that it is over."""

    def closed(self, error):
        os.kill(os.getpid(), signal.SIGTERM)
        super().closed(error)


def test_a_signal_waits_until_all_know_what_ended_the_run():
    first, second = Interrupted(), Watcher()
    lost = RuntimeError("connection reset by peer")
    with stoppable(), pytest.raises(Stopped) as caught, Observers([first, second]):
        raise lost
    assert first.seen == second.seen == [lost]
    assert caught.value.name == "SIGTERM"
    assert caught.value.__context__ is lost


def test_a_run_that_was_stopped_says_so_with_the_words_that_go_on():
    watcher, stop = Watcher(), Stopped(signal.SIGTERM)
    with stoppable(), pytest.raises(Stopped) as caught, Observers([watcher]):
        raise stop
    assert caught.value is stop
    assert watcher.seen == [stop]


def test_all_are_notified_of_what_ended_the_run():
    watcher = Watcher()
    with pytest.raises(KeyboardInterrupt), Observers([watcher]):
        raise KeyboardInterrupt
    assert isinstance(watcher.seen[0], KeyboardInterrupt)


class BrokenTracker:
    """A tracker of which every method fails."""

    def __getattr__(self, name):
        raise OSError(28, "No space left on device")


@pytest.fixture
def run(tmp_path):
    settings = SimpleNamespace(tracking={"name": "mlflow"}, resume=False)
    provenance = dict.fromkeys(run_tracking.TAGS, "x")
    return Run(settings, {}, tmp_path, SimpleNamespace(manifest=None), provenance)


def test_a_tracker_that_fails_at_everything_costs_warnings_alone(run, monkeypatch, caplog):
    monkeypatch.setattr(run_tracking, "build_tracker", lambda section, run: BrokenTracker())
    tracking = RunTracking.start(run)
    tracking.measured({"train/loss": object()}, 0)
    tracking.finished(RESULT)
    tracking.closed(None)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 5
    assert all("the run goes on" in message for message in caplog.messages)


@pytest.mark.parametrize("error", [ServiceError("the MLflow server cannot be used"), KeyError("uri")])
def test_a_tracker_that_does_not_start_ends_no_run(run, monkeypatch, caplog, error):
    def refuse(section, run):
        raise error

    monkeypatch.setattr(run_tracking, "build_tracker", refuse)
    assert RunTracking.start(run) is None
    assert RunTracking.start(run, parent="0" * 32) is None
    assert [message[:25] for message in caplog.messages] == ["this run is not tracked: "] * 2
