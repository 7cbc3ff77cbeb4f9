"""Losses of a batch that two processes share are those of one process, and so are their gradients."""

import torch
import torch.distributed as dist

from segpipe.labels import LabelMap
from segpipe.training.optimisation.losses import build_loss
from tests.support.ranks import run_ranks

OVERLAP = {"include_background": False, "batch_dice": True}
SPECS = {
    "dice": {"name": "dice", **OVERLAP},
    "dice of patches": {"name": "dice", "include_background": True, "batch_dice": False},
    "dice_ce": {"name": "dice_ce", "dice_weight": 1.0, "ce_weight": 0.5, "lesion_weight": 3.0, **OVERLAP},
    "focal": {"name": "focal", "gamma": 2.0, "lesion_weight": 2.0},
    "tversky": {"name": "tversky", "false_positive_weight": 0.3, "false_negative_weight": 0.7, **OVERLAP},
    "generalized_dice": {"name": "generalized_dice", "volume_weight": "square", "batch_dice": True},
}
NAMES = {1: "rim", 2: "core"}
MAPS = {
    "one class": LabelMap(),
    "classes, some voxels ignored": LabelMap.build(NAMES, ignore=255),
    "regions": LabelMap.build(NAMES, regions={"whole": [1, 2], "core": [2]}, ignore=255),
}
PATCHES, SIDE = 4, 6


def batch(labels: LabelMap) -> tuple[torch.Tensor, torch.Tensor]:
    """Four patches; of the first process's two one is ignored whole and the other in part, lesions are all over."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(PATCHES, labels.channels, SIDE, SIDE, SIDE, generator=generator)
    label = torch.randint(0, len(labels.names) + 1, (PATCHES, 1, SIDE, SIDE, SIDE), generator=generator)
    label[2:, :, :3] = 0  # the processes see different numbers of lesion voxels
    if labels.ignore is not None:
        label[0] = labels.ignore
        label[1, :, :2] = labels.ignore
    return logits, label.to(torch.uint8)


def loss_and_gradient(spec: dict, labels: LabelMap, patches: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """Of logits that one weight for each channel scales."""
    logits, label = batch(labels)
    weight = torch.linspace(0.5, 1.5, labels.channels).reshape(1, -1, 1, 1, 1).requires_grad_()
    loss = build_loss(spec, labels)(logits[patches] * weight, label[patches])
    loss.backward()
    return loss.detach(), weight.grad.flatten()


def compare_shares() -> None:
    """In each of two processes: what its half gives with the other one's, averaged as DDP does, and the whole alone."""
    cases = [(name, spec, kind, labels) for name, spec in SPECS.items() for kind, labels in MAPS.items()]
    alone = [loss_and_gradient(spec, labels, slice(None)) for _, spec, _, labels in cases]
    dist.init_process_group("gloo")
    own = slice(0, 2) if dist.get_rank() == 0 else slice(2, 4)
    for (name, spec, kind, labels), expected in zip(cases, alone, strict=True):
        for found, whole in zip(loss_and_gradient(spec, labels, own), expected, strict=True):
            dist.all_reduce(found)
            assert torch.allclose(found / 2, whole, rtol=2e-5, atol=1e-6), (name, kind, found / 2, whole)
    dist.destroy_process_group()
    print("compared", len(cases))


def test_two_processes_that_share_a_batch_have_the_losses_and_gradients_of_one(tmp_path):
    assert run_ranks(compare_shares, cwd=tmp_path, log=tmp_path).count("compared 18") == 2
