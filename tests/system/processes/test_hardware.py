"""What a machine has decides what `auto` means, in one place for every verb."""

import pytest
import torch

from segpipe.errors import ConfigError
from segpipe.system.processes import hardware
from segpipe.system.processes.hardware import Compute, choose_compute, choose_device


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
    strategy = "ddp" if devices > 1 else "auto"
    assert choose_compute("auto") == Compute(torch.device(device), precision, strategy, devices, 1)


def test_what_is_named_is_taken(machine):
    machine(gpus=4, bf16=True)
    assert choose_compute("gpu", precision="16-mixed", devices=2, strategy="ddp").processes == 2
    assert choose_compute("gpu", devices=2, strategy="fsdp").strategy == "fsdp"
    assert choose_compute("gpu", devices=1, strategy="ddp").strategy == "auto"
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
    reported = choose_compute("gpu", strategy="ddp").describe()
    assert reported == "computing on NVIDIA H100 in bfloat16 (mixed), 2 processes on 1 machine by ddp"


def test_as_many_processes_compute_as_torchrun_started(machine, torchrun):
    machine(gpus=4, bf16=True)
    torchrun(rank=1, processes=2, nodes=3)
    compute = choose_compute("auto", nodes=3)
    assert (compute.strategy, compute.devices, compute.nodes, compute.processes) == ("ddp", 2, 3, 6)


def test_as_many_processes_compute_as_srun_started(machine, monkeypatch):
    machine()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "2")
    assert choose_compute("auto", nodes=2) == Compute(torch.device("cpu"), "32-true", "ddp", 2, 2)


def test_other_processes_than_torchrun_started_are_refused(machine, torchrun):
    machine()
    torchrun(rank=0, processes=2, nodes=2)
    with pytest.raises(ConfigError, match="torchrun started other processes than the configuration asks") as caught:
        choose_compute("cpu", devices=1)
    assert caught.value.facts == {
        "trainer.devices": 1, "trainer.nodes": 1, "torchrun started": "2 on each of 2 machines"
    }  # fmt: skip
    assert caught.value.hint == "trainer=ddp trainer.devices=2 trainer.nodes=2"


def test_several_machines_without_a_launcher_are_refused(machine):
    machine()
    with pytest.raises(ConfigError, match="several machines need a launcher") as caught:
        choose_compute("cpu", devices=2, nodes=2)
    assert caught.value.hint.startswith("torchrun --nnodes=2 --nproc-per-node=2")


def test_more_devices_than_there_are_are_refused(machine):
    machine(gpus=2)
    with pytest.raises(ConfigError, match="this machine has fewer") as caught:
        choose_compute("auto", devices=4)
    assert caught.value.facts["devices here"] == "2 of cuda"
    assert caught.value.hint == "trainer.devices=2"
