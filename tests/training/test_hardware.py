"""What a machine has decides what `auto` means."""

import os

import pytest
import torch

from segpipe.errors import ConfigError
from segpipe.training import hardware


def test_a_missing_accelerator_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"trainer\.accelerator=gpu needs a device"):
        hardware.check_accelerator("gpu")
    hardware.check_accelerator("cpu")


@pytest.mark.parametrize(("bf16", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_takes_bf16_where_the_cpu_has_it(monkeypatch, bf16, expected):
    monkeypatch.setattr(hardware, "computes_bf16", lambda device: bf16)
    assert hardware.choose_precision("auto", "cpu") == expected
    assert hardware.choose_precision("16-mixed", "cpu") == "16-mixed"


@pytest.mark.parametrize(("cores", "processes", "expected"), [(2, 1, 1), (2, 2, 1), (16, 1, 8), (16, 4, 3)])
def test_auto_leaves_a_core_to_the_trainer(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(hardware, "available_cores", lambda: cores)
    assert hardware.choose_workers("auto", processes=processes) == expected
    assert hardware.choose_workers(0) == 0


def test_the_rank_comes_from_the_launcher(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert hardware.this_rank() == 0
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert hardware.this_rank() == 3


@pytest.mark.parametrize(("cuda", "wide_last"), [(False, False), (True, True)])
def test_channels_lie_last_where_that_is_faster(monkeypatch, cuda, wide_last):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    narrow, wide = torch.nn.Conv3d(2, 16, 3), torch.nn.Conv3d(16, 17, 3)
    before = wide.weight.detach().clone()
    network = hardware.to_channels_last(torch.nn.Sequential(narrow, wide), "auto")
    assert narrow.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert wide.weight.is_contiguous(memory_format=torch.channels_last_3d) == wide_last
    torch.testing.assert_close(network[1].weight, before, rtol=0, atol=0)


def test_a_system_without_affinities_such_as_macos_counts_all_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert hardware.choose_workers("auto") == 5
