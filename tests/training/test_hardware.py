"""What a machine has decides what `auto` means."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from segpipe.errors import ConfigError
from segpipe.training import hardware
from segpipe.training.transfer.settings import FineTuning

CONF = Path(__file__).parents[2] / "conf" / "optimizer"


def test_a_missing_accelerator_is_refused_with_what_to_try(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="this machine does not have the device") as caught:
        hardware.compute_of(trainer(accelerator="gpu"))
    assert caught.value.facts["wanted"] == "cuda"
    assert "trainer=auto" in caught.value.hint


def test_a_configuration_names_what_computes():
    compute = hardware.compute_of(trainer(precision="32-true", devices=3))
    assert (compute.device.type, compute.precision, compute.strategy) == ("cpu", "32-true", "ddp")
    assert (compute.devices, compute.nodes, compute.processes) == (3, 1, 3)


def trainer(**changes):
    values = {"accelerator": "cpu", "devices": "auto", "nodes": 1, "strategy": "auto", "precision": "auto"}
    return SimpleNamespace(**{**values, **changes})


def settings(*, patches=16, ema=None, optimizer="adamw", finetune=None, privacy=None, **changes):
    training = SimpleNamespace(validation_patches=patches, ema=ema)
    spec = yaml.safe_load((CONF / f"{optimizer}.yaml").read_text())
    parts = {"optimizer": spec, "finetune": finetune, "privacy": privacy}
    return SimpleNamespace(training=training, trainer=trainer(**changes), **parts)


@pytest.mark.parametrize("changes", [{"devices": 2}, {"precision": "16-mixed"}])
def test_what_a_private_training_cannot_compute_with_is_refused(changes):
    assert hardware.check_compute(settings(privacy="dp", precision="32-true")).processes == 1
    with pytest.raises(ConfigError, match="a private training draws its patients in one process") as caught:
        hardware.check_compute(settings(privacy="dp", **changes))
    assert "trainer.devices=1 trainer.precision=32-true" in caught.value.hint


def test_validation_patches_that_cannot_be_shared_out_are_refused():
    assert hardware.check_compute(settings(devices=4)).processes == 4
    with pytest.raises(ConfigError, match="must be a multiple of the processes") as caught:
        hardware.check_compute(settings(devices=3))
    assert caught.value.hint == "training.validation_patches=18"


def test_what_sharded_weights_do_not_take_is_refused():
    sharded = {"devices": 2, "strategy": "fsdp", "precision": "32-true"}
    assert hardware.check_compute(settings(**sharded)).strategy == "fsdp"
    assert hardware.check_compute(settings(ema=0.99, **{**sharded, "devices": 1})).strategy == "auto"
    for changes in ({"ema": 0.99}, {"precision": "16-mixed"}):
        with pytest.raises(ConfigError, match="sharded weights are neither averaged nor trained in 16-mixed"):
            hardware.check_compute(settings(**{**sharded, **changes}))
    for optimizer in ("soap", "schedule_free"):
        with pytest.raises(ConfigError, match="this optimizer needs whole weights, and fsdp shares them out") as caught:
            hardware.check_compute(settings(optimizer=optimizer, **sharded))
        assert caught.value.facts == {"optimizer": optimizer}
    gradual = FineTuning(name="gradual", release=(0.2, 0.6))
    with pytest.raises(ConfigError, match="a stage that is released later has no state of the optimizer before"):
        hardware.check_compute(settings(finetune=gradual, **sharded))


@pytest.mark.parametrize(("cores", "processes", "expected"), [(2, 1, 1), (2, 2, 1), (16, 1, 8), (16, 4, 3)])
def test_auto_leaves_a_core_to_the_trainer(monkeypatch, cores, processes, expected):
    monkeypatch.setattr(hardware, "available_cores", lambda: cores)
    assert hardware.choose_workers("auto", processes=processes) == expected
    assert hardware.choose_workers(0) == 0


@pytest.mark.parametrize(("device", "narrow_last"), [("cpu", True), ("mps", True), ("cuda", False)])
def test_channels_lie_last_where_that_is_faster(device, narrow_last):
    narrow, wide = torch.nn.Conv3d(2, 16, 3), torch.nn.Conv3d(16, 17, 3)
    before = wide.weight.detach().clone()
    network = hardware.to_channels_last(torch.nn.Sequential(narrow, wide), torch.device(device))
    assert narrow.weight.is_contiguous(memory_format=torch.channels_last_3d) == narrow_last
    assert wide.weight.is_contiguous()
    torch.testing.assert_close(network[1].weight, before, rtol=0, atol=0)


def test_a_system_without_affinities_such_as_macos_counts_all_cores(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert hardware.choose_workers("auto") == 5
