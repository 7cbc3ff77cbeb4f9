"""What a launcher has started is read from its environment, and its processes agree on a folder."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist

from segpipe.errors import ConfigError
from segpipe.system.processes.launched import (
    Launch,
    agree_on_folder,
    launch,
    own_first,
    started_by_torchrun,
    step_name,
    this_rank,
)


def test_alone_there_is_nothing_to_read():
    assert (launch(), this_rank(), step_name(), started_by_torchrun()) == (None, 0, None, False)


def test_the_rank_comes_from_the_launcher(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert this_rank() == 3
    monkeypatch.setenv("LOCAL_RANK", "2")  # of a process that was started inside a job
    assert this_rank() == 2
    monkeypatch.setenv("RANK", "1")
    assert this_rank() == 1


def test_each_process_begins_with_its_own_share(monkeypatch, torchrun):
    items = list("abcde")
    assert own_first(items) == items
    torchrun(rank=1, processes=1, nodes=2)
    assert own_first(items) == ["b", "d", "a", "c", "e"]
    torchrun(rank=2, processes=3, nodes=1)
    assert own_first(items) == ["c", "a", "d", "b", "e"]


def test_a_step_of_one_task_is_no_launch(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert (launch(), step_name()) == (None, None)


def test_torchrun_inside_a_job_comes_before_srun(monkeypatch, torchrun):
    torchrun(rank=3, processes=2, nodes=2)
    for name, value in {"STEP_NUM_TASKS": "2", "STEP_NUM_NODES": "2", "PROCID": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert (launch(), this_rank()) == (Launch("torchrun", 2, 2), 3)


@pytest.fixture
def store(monkeypatch):
    """What torchrun keeps open for its processes."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=60))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    return store


def test_the_first_process_chooses_for_all(store):
    with ThreadPoolExecutor(1) as other:
        waits = other.submit(agree_on_folder, None)
        assert agree_on_folder(lambda: Path("runs/now_2")) == Path("runs/now_2")
        assert waits.result() == Path("runs/now_2")


def test_where_the_first_process_cannot_choose_nobody_waits(store):
    def choose() -> Path:
        raise ConfigError("the folder holds a run already")

    with ThreadPoolExecutor(1) as other:
        waits = other.submit(agree_on_folder, None)
        with pytest.raises(ConfigError, match="the folder holds a run already"):
            agree_on_folder(choose)
        with pytest.raises(ConfigError, match="the first process could not choose the folder"):
            waits.result()


def test_without_a_store_the_folder_must_be_named(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    with pytest.raises(ConfigError, match="this torchrun keeps no store") as caught:
        agree_on_folder(None)
    assert caught.value.hint.startswith("name it: hydra.run.dir=FOLDER")
