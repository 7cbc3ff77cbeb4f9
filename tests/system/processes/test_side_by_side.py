"""Jobs side by side: each has a device and its share of the threads, fails alone, and its log comes to the first."""

import logging
import os
import signal

import pytest
import torch

from segpipe.errors import DatasetError
from segpipe.system.case_errors import CaseError
from segpipe.system.processes.side_by_side import _Place, run_side_by_side

log = logging.getLogger("segpipe.tests")


def job(number: int):
    """Succeeds with a tensor, is killed, fails as foreseen, and fails otherwise."""
    log.info("at work")
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 2:
        raise DatasetError("a bad case", facts={"case": "LUNG_042"})
    if number == 3:
        raise ValueError("no such axis")
    return torch.arange(3), os.environ["CUDA_VISIBLE_DEVICES"], torch.get_num_threads()


@pytest.mark.slow
def test_a_job_that_fails_takes_no_other_with_it(caplog, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with caplog.at_level(logging.INFO):
        found = run_side_by_side(job, 5, devices=2, name="fold")
    assert [type(outcome).__name__ for outcome in found] == [
        "tuple", "TrainingError", "DatasetError", "CaseError", "tuple"
    ]  # fmt: skip
    numbers, gpu, threads = found[0]
    torch.testing.assert_close(numbers, torch.arange(3))
    assert (gpu, threads) == ("GPU-a", 1)
    assert found[4][1] in ("GPU-a", "GPU-b")
    assert found[1].facts == {"of": "fold 1", "exit code": -signal.SIGKILL}
    assert found[2].facts == {"of": "fold 2", "case": "LUNG_042"}
    assert isinstance(found[3], CaseError)
    assert found[3].message == "ValueError: no such axis"
    assert {f"fold {number}: at work" for number in (0, 2, 3, 4)} <= set(caplog.messages)
    assert "fold 3: it failed" in caplog.text


def process_of(number: int) -> int:
    return os.getpid()


@pytest.mark.slow
def test_a_process_works_on_one_number_after_another():
    first, second, third = run_side_by_side(process_of, 3, devices=1, name="row")
    assert first == second == third != os.getpid()


@pytest.mark.parametrize(
    ("visible", "there", "expected"),
    [("GPU-a,GPU-b", 8, ["GPU-a", "GPU-b", "GPU-a"]), ("", 2, ["0", "1", "0"]), ("", 0, ["0", "0", "0"])],
)
def test_more_jobs_than_gpus_share_them(monkeypatch, visible, there, expected):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    seen = []
    for device in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        _Place(device, 3).take()
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == expected
