"""Each experiment with each option of each group composes, is valid, builds its parts and takes a step of training."""

import numpy as np
import pytest
import torch

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from segpipe.config.folder import conf_folder, experiments
from segpipe.config.schema import check_settings
from segpipe.networks import network_divisor
from segpipe.training.fitting import build_module

OPTIONS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(conf_folder().iterdir())
    if folder.is_dir() and folder.name not in ("experiment", "hydra", "pretraining", "ratings", "study", "sweep")
}
TOGETHER = ("augmentation", "evaluation", "loss", "mixing", "optimizer", "scheduler", "tracking", "trainer")
"""Groups that decide nothing of each other: an option of each is tried in one step, and so all of them in a few."""
MOST = max(len(OPTIONS[group]) for group in TOGETHER)
JOINT = [{group: OPTIONS[group][number % len(OPTIONS[group])] for group in TOGETHER} for number in range(MOST)]
CHOICES = [{group: option} for group in OPTIONS if group not in TOGETHER for option in OPTIONS[group]] + JOINT

NARROW = {
    "default": ["network.channels=[8,16,32,64]"],
    "attention_unet": ["network.channels=[8,16,32,64]"],
    "dynunet": ["network.channels=[8,16,32,64,64]"],
    "resnet_unet": ["network.width=8"],
    "segresnet": ["network.width=8"],
    "swin_unetr": ["network.width=12", "network.window=[4,4,4]"],  # SOAP takes 8 s for the 13³ rows of a window of 7³
    "unet": ["network.channels=[8,16,32,64]"],
}
"""Each network as it is has its own test, and the optimizers decompose what is wide for seconds."""

OWN_TESTS = ("lung_nodule_ratings", "optimizer_study", "pretrain_encoder", "regularisation_study")
"""Experiments whose tests are in tests/pipelines and tests/training/pretraining."""
SEGMENTATIONS = [name for name in experiments() if name not in OWN_TESTS]


def words_of(experiment: str, chosen: dict[str, str]) -> list[str]:
    data = chosen.get("data") or {"lung_nodule": "phantom"}.get(experiment)
    required = {"phantom": (), "implanted": ("hosts", "nodules")}.get(data, ("root",))
    given = [f"data.{key}=scans" for key in required]
    narrow = NARROW.get(chosen.get("network", "default"), [])
    options = [f"{group}={option}" for group, option in chosen.items()]
    options += ["recipe=ct_nodule", "sampling=scan"] if chosen.get("detector") == "two_stage" else []  # of whole scans
    private = ["training.clip_norm=null", "sampling.hard_negatives=0", "network.norm=instance"]
    options += private if chosen.get("privacy") == "dp" else []
    # a patch of 32 voxels would be one at its bottom
    large = experiment in ("lung_nodule", "continue") and chosen.get("network") == "swin_unetr"
    options += ["recipe=ct_nodule"] if large else []
    return [f"+experiment={experiment}", *options, *given, *narrow, "trainer.accelerator=cpu"]


def random_patch(divisor: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """The smallest patch that a network takes, which is padded for it, with a lesion."""
    rng, shape = np.random.default_rng(0), (1, divisor[0] + 1, *divisor[1:])
    image = torch.from_numpy(rng.random(shape, dtype=np.float32))
    return {"image": image, "label": (image > 0.7).to(torch.uint8)}


def test_every_option_is_chosen():
    chosen = {item for choice in CHOICES for item in choice.items()}
    assert chosen == {(group, option) for group, options in OPTIONS.items() for option in options}


@pytest.mark.parametrize("chosen", CHOICES, ids=lambda chosen: ",".join(chosen.values()))
@pytest.mark.parametrize("experiment", SEGMENTATIONS)
def test_options_take_a_step(experiment, chosen):
    words = words_of(experiment, chosen)
    settings, mistakes = check_settings(plain(compose(words, dict)), registries())
    assert mistakes == []
    assert settings is not None
    module = build_module(settings, {})
    optimizer = module.make_optimizer(module.network)
    module.make_scheduler(optimizer)
    patch = settings.augmentation.apply(random_patch(network_divisor(settings.network)), np.random.default_rng(0))
    before = [weight.detach().clone() for weight in module.network.parameters()]
    loss = module.loss(module(patch["image"][None]), patch["label"][None])
    loss.backward()
    for _ in range(2):  # SOAP's first step only finds a basis
        optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, module.network.parameters(), strict=True))
