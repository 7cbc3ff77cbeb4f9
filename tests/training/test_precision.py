"""Training on a CPU in bfloat16 keeps small maps in float32, in any module's step."""

import pytest
import torch
from torch.nn import functional

from segpipe.system.processes.hardware import Compute
from segpipe.training.precision import precision_plugins


@pytest.mark.parametrize("step", ["train_step_context", "val_step_context"])
def test_steps_compute_small_maps_in_float32(step):
    small, large = torch.rand(1, 2, 2, 2, 2), torch.rand(1, 2, 4, 4, 4)
    weight = torch.rand(2, 2, 3, 3, 3)
    (plugin,) = precision_plugins(Compute(torch.device("cpu"), "bf16-mixed"))
    with getattr(plugin, step)():
        found = [functional.conv3d(images, weight, padding=1).dtype for images in (small, large)]
    assert found == [torch.float32, torch.bfloat16]
    assert functional.conv3d(large, weight, padding=1).dtype == torch.float32


@pytest.mark.parametrize(("device", "precision"), [("cpu", "32-true"), ("cuda", "bf16-mixed"), ("cuda", "16-mixed")])
def test_elsewhere_lightning_computes_as_it_does(device, precision):
    assert precision_plugins(Compute(torch.device(device), precision)) == []
