"""A stopped job goes back into the queue where that is wanted and where it got further; `cluster` has a real Slurm."""

import logging
import signal
from pathlib import Path

import pytest

from segpipe.errors import ServiceError
from segpipe.system.processes.slurm import job_name, requeue_job
from segpipe.system.processes.stopping import Stopped
from segpipe.training.resuming.requeuing import requeues


@pytest.fixture
def scontrol(tmp_path, monkeypatch) -> Path:
    """A command of this name that writes its words into a file."""
    calls, command = tmp_path / "calls", tmp_path / "bin" / "scontrol"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    command.chmod(0o700)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    calls.touch()
    return calls


def stop(folder: Path, number: int, *, wanted: bool = True, saves: bool = True) -> None:
    file = folder / "run" / "fold_0" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True, exist_ok=True)
    with pytest.raises(Stopped), requeues(folder / "run", wanted=wanted):
        train(file if saves else None, number)


def train(file: Path | None, number: int) -> None:
    if file:
        file.touch()
    raise Stopped(number)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_job_that_has_saved_a_step_is_requeued(tmp_path, scontrol, number):
    stop(tmp_path, number)
    assert scontrol.read_text() == "requeue 17\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_its_user_ends_is_not_requeued(tmp_path, scontrol, number):
    stop(tmp_path, number)
    assert scontrol.read_text() == ""


def test_only_the_first_process_of_a_job_requeues_it_and_only_where_that_is_wanted(tmp_path, scontrol, monkeypatch):
    stop(tmp_path, signal.SIGUSR1, wanted=False)
    monkeypatch.setenv("RANK", "1")
    stop(tmp_path, signal.SIGUSR1)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("SLURM_JOB_ID")
    stop(tmp_path, signal.SIGUSR1)
    assert scontrol.read_text() == ""


def test_a_start_that_has_saved_nothing_does_not_come_back_for_ever(tmp_path, scontrol, caplog):
    stop(tmp_path, signal.SIGUSR1)
    stop(tmp_path, signal.SIGUSR1, saves=False)
    assert scontrol.read_text() == "requeue 17\n"
    assert "the job is not requeued: it has saved no step since it started" in caplog.text


def test_slurms_refusal_is_explained(tmp_path, scontrol, caplog):
    command = tmp_path / "bin" / "scontrol"
    command.write_text("#!/bin/sh\necho 'Requested operation is presently disabled for job 17' >&2\nexit 1\n")
    with pytest.raises(ServiceError) as caught:
        requeue_job()
    assert str(caught.value).splitlines()[:3] == [
        "Slurm does not requeue the job",
        "  job    17",
        "  found  Requested operation is presently disabled for job 17",
    ]
    command.unlink()
    with caplog.at_level(logging.ERROR):
        stop(tmp_path, signal.SIGUSR1)
    assert "#SBATCH --requeue allows it" in caplog.text


def test_a_job_is_called_by_its_number_and_step(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert job_name() is None
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert job_name() == "job_17"
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert job_name() == "job_17_0"
