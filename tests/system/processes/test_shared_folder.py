"""Processes with disks of their own are refused in one message, which each of them gives."""

import os
from pathlib import Path

import pytest
import torch.distributed as dist

from segpipe.errors import ConfigError
from segpipe.system.processes import shared_folder
from segpipe.system.processes.ranks import Ranks, processes_part
from tests.support.ranks import run_ranks


def check_in_two_folders() -> None:
    """In each of two processes; the second one's working folder is another's after the first check."""
    with processes_part():
        dist.init_process_group("gloo")
        ranks, home = Ranks(), Path.cwd()
        Path("run").mkdir(exist_ok=True)
        shared_folder.check_shared(Path("run"), ranks)
        if not ranks.main:
            os.chdir("another")
        shared_folder._SEEN_WITHIN_S = 0.2
        with pytest.raises(ConfigError, match="need one folder that all of them see") as caught:
            shared_folder.check_shared(Path("run"), ranks)
        assert caught.value.facts["process 0"].startswith(f"{home / 'run'} on ")
        assert caught.value.facts["process 1"].startswith(f"another: {home / 'another' / 'run'} on ")
        assert not ranks.main or list((home / "run").iterdir()) == []


def test_a_process_that_sees_another_disk_is_named_to_all(tmp_path):
    (tmp_path / "another" / "run").mkdir(parents=True)
    run_ranks(check_in_two_folders, cwd=tmp_path, log=tmp_path / "logs")


def test_a_process_alone_sees_its_own_folder(tmp_path):
    shared_folder.check_shared(tmp_path, Ranks())
    assert list(tmp_path.iterdir()) == []
