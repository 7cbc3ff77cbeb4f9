"""Processes that train together and that nobody has started but the first of them: none outlives the others."""

import os
import threading
from pathlib import Path
from subprocess import Popen

import pytest
import torch

from segpipe.errors import ModelError, TrainingError
from segpipe.system.processes.forced_end import before_forced_end
from segpipe.system.processes.hardware import Compute
from segpipe.training import started_processes as module
from segpipe.training.started_processes import started_processes
from tests.support.processes import Process

FAILS, WAITS = "exit 3", "exec sleep 600"


def end_by(error: Exception, does: str) -> Popen[bytes]:
    """A process that does something while the block of the first one ends by an error."""
    process = Popen(["sh", "-c", does])
    with pytest.raises(type(error)) as caught, module._watched([process]):
        raise error
    assert process.poll() is not None
    assert caught.value is error
    return process


def test_an_error_that_a_lost_process_explains_is_explained_by_it():
    process = Popen(["sh", "-c", FAILS])
    match = "a process that trained with this one has ended early"
    with pytest.raises(TrainingError, match=match) as caught, module._watched([process]):
        raise RuntimeError("Connection closed by peer")
    assert caught.value.facts == {"process 1": "exit code 3"}
    assert str(caught.value.__cause__) == "Connection closed by peer"


def test_an_error_of_its_own_stays_what_it_is_and_ends_the_others(monkeypatch):
    monkeypatch.setattr(module, "_END_WITHIN_S", 0.1)
    end_by(ModelError("the checkpoint cannot be read"), FAILS)
    assert end_by(RuntimeError("of this process alone"), WAITS).returncode == -9


def wait_for_a_lost_process() -> None:
    """As a process does that some GPUs do not tell that another is gone."""
    module._NOTICE_WITHIN_S = 0.1
    said = Path("said").touch
    with before_forced_end(said), module._watched([Popen(["sh", "-c", FAILS]), Popen(["sh", "-c", WAITS])]):
        threading.Event().wait()


def test_a_process_that_does_not_notice_says_its_last_words_and_ends(tmp_path):
    process = Process(wait_for_a_lost_process, cwd=tmp_path, log=tmp_path / "log")
    assert process.wait() == 1
    assert (tmp_path / "said").exists()
    assert "has ended early\n  process 1  exit code 3\n" in (tmp_path / "log").read_text()


def test_alone_or_started_by_others_it_starts_none(tmp_path, monkeypatch):
    several = Compute(torch.device("cpu"), "32-true", "ddp", devices=2)
    monkeypatch.setattr(module, "Popen", None)
    with started_processes(Compute(torch.device("cpu"), "32-true"), tmp_path):
        assert "LOCAL_RANK" not in os.environ
    monkeypatch.setenv("LOCAL_RANK", "1")
    with started_processes(several, tmp_path):
        assert os.environ["LOCAL_RANK"] == "1"
