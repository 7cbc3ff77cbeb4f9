"""Every shipped network learns a patient at a time, and no patient moves a step by more than the bound."""

import pytest
import torch

from segpipe.labels import LabelMap
from segpipe.networks import build_network
from segpipe.training.optimisation.losses import build_loss
from segpipe.training.privacy.module import PrivateModule
from tests.samples.small_models import RESNET, UNET
from tests.training.privacy.plans import make_plan

NETWORKS = {
    "unet": UNET,
    "dynunet": {
        "name": "dynunet", "channels": [4, 8, 8], "strides": [1, 2, 2], "deep_supervision": 1, "residual": False,
        "norm": "instance", "act": "relu", "dropout": 0.0,
    },
    "segresnet": {
        "name": "segresnet", "width": 8, "blocks_down": [1, 1], "blocks_up": [1], "norm": "group", "act": "relu",
        "dropout": 0.1,
    },
    "attention_unet": {
        "name": "attention_unet", "channels": [4, 8], "strides": [2], "norm": "instance", "dropout": 0.0,
    },
    "resnet_unet": RESNET,
    "swin_unetr": {
        "name": "swin_unetr", "width": 12, "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1], "window": [2, 2, 2],
        "dropout": 0.0, "attention_dropout": 0.0,
    },
}  # fmt: skip
DICE = {
    "name": "dice_ce", "dice_weight": 1.0, "ce_weight": 1.0, "lesion_weight": 1.0, "include_background": False,
    "batch_dice": True,
}  # fmt: skip


def make_module(network, **plan):
    module = PrivateModule(
        plan=make_plan(**plan),
        network=network,
        loss=build_loss(DICE, LabelMap()),
        make_optimizer=None,
        make_scheduler=None,
        seed=0,
        provenance={},
    )
    module.log = lambda *given, **how: None  # of Lightning, which wants a trainer
    return module.train()


def batch_of(patches, shape=(16, 16, 16)):
    numbers = torch.Generator().manual_seed(0)
    image = torch.rand(patches, 1, *shape, generator=numbers)
    return {"image": image, "label": (image > 0.9).byte()}


def sum_of(module, batch):
    torch.manual_seed(0)  # dropout
    module.training_step(batch, 0)
    return [total.double() for total in module._sum.total]


def norm_of(tensors):
    return float(torch.stack([tensor.norm() for tensor in tensors]).norm())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_shipped_network_learns_privately(name):
    torch.manual_seed(0)
    module = make_module(build_network(NETWORKS[name], out_channels=2), clip_norm=0.01)
    batch = batch_of(2, (64, 32, 32) if name == "swin_unetr" else (16, 16, 16))
    both, first = sum_of(module, batch), sum_of(module, {key: value[:1] for key, value in batch.items()})
    assert 0.009 < norm_of(first) <= 0.01
    moved = [a - b for a, b in zip(both, first, strict=True)]
    assert 0.009 < norm_of(moved) <= 0.01 * (1 + 1e-5)


def test_of_several_patches_of_a_patient_the_mean_counts():
    torch.manual_seed(0)
    network = build_network(UNET, out_channels=2)
    batch = batch_of(4)
    found = sum_of(make_module(network, patches_per_patient=2, clip_norm=1e9), batch)
    loss = build_loss(DICE, LabelMap())
    halves = [{key: value[part] for key, value in batch.items()} for part in (slice(0, 2), slice(2, 4))]
    losses = [loss(network(half["image"]), half["label"]) for half in halves]
    expected = torch.autograd.grad(sum(losses), list(network.parameters()))
    torch.testing.assert_close([one.float() for one in found], list(expected), rtol=1e-4, atol=1e-6)


def test_a_patient_whose_loss_is_not_finite_moves_nothing_and_skips_no_step():
    torch.manual_seed(0)
    module = make_module(build_network(UNET, out_channels=2))
    batch = batch_of(2)
    alone = sum_of(module, {key: value[:1] for key, value in batch.items()})
    batch["image"][1] = torch.nan
    assert all(map(torch.equal, sum_of(module, batch), alone))
    assert module.training_step(batch, 0).isfinite()


def test_a_step_without_patients_has_a_loss_and_no_sum():
    module = make_module(build_network(UNET, out_channels=2))
    batch = batch_of(0)
    assert module.training_step(batch, 0) == 0
    assert norm_of(sum_of(module, batch)) == 0


def test_buffers_learn_nothing():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.BatchNorm3d(2))
    module = make_module(network)
    before = [buffer.clone() for buffer in network.buffers()]
    module.training_step(batch_of(2), 0)
    assert all(map(torch.equal, network.buffers(), before))


def test_frozen_weights_have_no_part():
    network = build_network(UNET, out_channels=2)
    first, *others = network.parameters()
    first.requires_grad_(False)
    assert len(sum_of(make_module(network), batch_of(1))) == len(others)
