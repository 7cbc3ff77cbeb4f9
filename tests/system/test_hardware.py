"""What a machine has decides what `auto` means, in one place for every verb."""

import pytest
import torch

from segpipe.errors import ConfigError
from segpipe.system import hardware
from segpipe.system.hardware import Compute, choose_compute, choose_device, this_rank


@pytest.fixture
def machine(monkeypatch):
    """A machine of our choice."""

    def make(*, gpus=0, mps=False, bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(hardware, "computes_bf16", lambda device: bf16 and device.type != "mps")

    return make


@pytest.mark.parametrize(
    ("has", "device", "precision", "devices"),
    [
        ({}, "cpu", "32-true", 1),
        ({"bf16": True}, "cpu", "bf16-mixed", 1),
        ({"mps": True, "bf16": True}, "mps", "32-true", 1),
        ({"gpus": 1}, "cuda", "16-mixed", 1),
        ({"gpus": 4, "bf16": True}, "cuda", "bf16-mixed", 4),
    ],
)
def test_auto_takes_the_best_there_is(machine, has, device, precision, devices):
    machine(**has)
    assert choose_compute("auto") == Compute(torch.device(device), precision, "auto", devices, 1)


def test_what_is_named_is_taken(machine):
    machine(gpus=4, bf16=True)
    assert choose_compute("gpu", precision="16-mixed", devices=2, nodes=2, strategy="ddp").processes == 4
    assert choose_compute("cpu", precision="32-true") == Compute(torch.device("cpu"), "32-true")


def test_a_device_that_is_not_there_is_refused_with_what_is(machine):
    machine(mps=True)
    with pytest.raises(ConfigError, match="this machine does not have the device") as caught:
        choose_device("cuda")
    assert caught.value.facts["has"] == "mps, cpu"
    assert "build of torch" in caught.value.facts["found"]
    assert "take auto" in caught.value.hint


def test_the_choice_is_said_in_one_line(machine):
    machine(gpus=2, bf16=True)
    assert choose_compute("cpu", precision="32-true").describe() == "computing on cpu in float32"
    reported = choose_compute("gpu", strategy="ddp", nodes=2).describe()
    assert reported == "computing on NVIDIA H100 in bfloat16 (mixed), 4 processes on 2 machines by ddp"


def test_the_rank_comes_from_the_launcher(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert this_rank() == 0
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert this_rank() == 3
    monkeypatch.setenv("RANK", "1")
    assert this_rank() == 1
