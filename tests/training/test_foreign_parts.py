"""Parts from other packages are tried before any work; what is wrong is one line each, with all other mistakes."""

import pytest
import torch
from torch import nn

from segpipe.config.schema import check_settings, made_into
from segpipe.networks import NETWORKS
from segpipe.preprocessing.recipe import Recipe
from segpipe.training.callbacks import CALLBACKS
from segpipe.training.module import MODULES
from segpipe.training.optimisation.losses import LOSSES, build_loss
from segpipe.training.optimisation.optimizers import OPTIMIZERS, build_optimizer
from segpipe.training.optimisation.schedulers import SCHEDULERS, build_scheduler
from tests.parts.plug_ins import install
from tests.samples.small_models import SCAN, UNET

REGISTRIES = {
    "recipe": made_into(Recipe),
    "network": NETWORKS,
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS,
    "module": MODULES,
    "callbacks": CALLBACKS,
}
MODULE = """
import torch
from torch import nn

from segpipe.training.module import SegmentationModule

class Plain:
    def __init__(self, network=None, params=None, optimizer=None):
        pass

def three(*args):
    return torch.zeros(3, requires_grad=True)

class Three(nn.Module):
    def forward(self, logits, label):
        return torch.zeros(3, requires_grad=True)

class Mean(nn.Module):
    def forward(self, logits, label):
        return (logits[:, 1:] - label).square().mean()

class Teacher(SegmentationModule):
    def __init__(self, loss):
        super().__init__()
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    return install(tmp_path, monkeypatch, {"own": MODULE})


def mistakes(section, spec):
    config = {"recipe": SCAN.to_dict(), section: spec}
    ours = [line for line in check_settings(config, REGISTRIES)[1] if line.startswith(section)]
    return "\n".join(ours)


@pytest.mark.parametrize(
    ("section", "spec", "expected"),
    [
        ("network", {"_target_": "PKG.own.Plain"}, "network: must derive from torch's Module; found Plain"),
        ("network", {"_target_": "torch.nn.Conv3d", "kernel_size": 1, "padding": 1}, "found 2×2×34×34×18 in eval mode"),
        ("network", {"_target_": "torch.nn.Conv3d", "kernel_size": "a"}, "torch.nn.Conv3d cannot be built from these"),
        ("network", {"_target_": "torch.nn.Conv3d", "kernel_size": 1, "out_channels": 5}, "found 2×5×32×32×16 in eval"),
        (
            "network",
            {**UNET, "channels": [4] * 6, "strides": [2] * 5},
            "network: recipe.patch must be larger than 32×32×32, the network's divisor, along one axis; "
            "found 32×32×16; try recipe.patch=[64,64,64]",
        ),
        ("network", {**UNET, "strides": [2, 2]}, "network: 2 channels need 1 strides"),
        (
            "loss",
            {"_target_": "PKG.own.Plain"},
            "loss: must take (2, 2, 8, 8, 8) and (2, 1, 8, 8, 8), logits and label",
        ),
        (
            "loss",
            {"_target_": "PKG.own.Three"},
            "loss: must give one number that can be differentiated; found shape (3,)",
        ),
        ("loss", {"_target_": "monai.losses.DiceLoss", "sofmax": True}, "loss.sofmax: no such key; allowed: include_b"),
        (
            "loss",
            {"_target_": "monai.losses.DiceLoss", "other_act": 3},
            "loss: monai.losses.DiceLoss cannot be built from",
        ),
        ("optimizer", {"_target_": "PKG.own.Plain"}, "optimizer: must derive from torch's Optimizer; found Plain"),
        (
            "optimizer",
            {"_target_": "torch.optim.Adam", "lr": -1},
            "cannot be built from these values (found: ValueErro",
        ),
        ("optimizer", {"_target_": "torch.optim.Adam", "rate": 1}, "optimizer.rate: no such key; allowed: lr, betas, "),
        ("scheduler", {"_target_": "PKG.own.Plain"}, "scheduler: must derive from torch's LRScheduler; found Plain"),
        ("scheduler", {"_target_": "torch.optim.lr_scheduler.StepLR"}, "scheduler.step_size: must be given"),
        (
            "callbacks",
            [{"_target_": "PKG.own.Plain"}],
            "callbacks.0: must derive from pytorch_lightning's Callback",
        ),
        ("callbacks", [{"name": "x"}], "callbacks.0._target_: must be given; no installed package registers"),
        (
            "module",
            {"_target_": "PKG.own.Plain"},
            "module: must be a class that derives from segpipe.training.module.Seg",
        ),
        (
            "module",
            {"_target_": "PKG.own.Teacher"},
            "module: must take and hand on network, make_optimizer, make_scheduler, seed, provenance",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_explained(package, section, spec, expected):
    def named(value):
        return (
            [named(item) for item in value]
            if isinstance(value, list)
            else {key: item.replace("PKG", package) if isinstance(item, str) else item for key, item in value.items()}
        )

    assert expected in mistakes(section, named(spec)).replace(package, "PKG")


@pytest.mark.parametrize(
    ("section", "spec"),
    [
        ("network", {"_target_": "monai.networks.nets.SegResNet", "spatial_dims": 3, "init_filters": 8}),
        ("loss", {"_target_": "PKG.own.Mean"}),
        ("loss", {"_target_": "monai.losses.DiceCELoss", "to_onehot_y": True, "softmax": True}),
        ("optimizer", {"_target_": "torch.optim.Adam", "lr": 0.1}),
        ("optimizer", {"_target_": "pytorch_optimizer.Lion"}),
        ("scheduler", {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 100}),
        ("callbacks", [{"_target_": "pytorch_lightning.callbacks.DeviceStatsMonitor", "cpu_stats": False}]),
        ("module", {"name": "segmentation"}),
        ("module", {"_target_": "segpipe.training.module.SegmentationModule"}),
    ],
)
def test_parts_of_other_libraries_fit(package, section, spec):
    if isinstance(spec, dict):
        spec = {key: item.replace("PKG", package) if isinstance(item, str) else item for key, item in spec.items()}
    assert mistakes(section, spec) == ""


def test_an_optimizer_from_elsewhere_holds_the_network_s_own_weights():
    network = nn.Conv3d(1, 2, 1)
    optimizer = build_optimizer({"_target_": "torch.optim.Adam", "lr": 0.5}, network)
    assert {id(weight) for group in optimizer.param_groups for weight in group["params"]} == {
        id(weight) for weight in network.parameters()
    }
    scheduler = build_scheduler(
        {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 1, "gamma": 0.5}, optimizer, 10
    )
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_loss_of_monai_is_what_it_is_in_monai():
    from monai.losses import TverskyLoss

    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(2, 2, 4, 4, 4, generator=generator), torch.ones(2, 1, 4, 4, 4)
    spec = {"_target_": "monai.losses.TverskyLoss", "to_onehot_y": True, "softmax": True, "alpha": 0.2}
    assert build_loss(spec)(logits, label) == TverskyLoss(to_onehot_y=True, softmax=True, alpha=0.2)(logits, label)
