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

GROUPS = sorted(folder.name for folder in conf_folder().iterdir() if folder.is_dir())
OPTIONS = [
    (group, file.stem)
    for group in GROUPS
    if group not in ("experiment", "hydra", "ratings")
    for file in sorted((conf_folder() / group).glob("*.yaml"))
]

SEGMENTATIONS = [name for name in experiments() if name != "lung_nodule_ratings"]  # tests/pipelines/test_ratings.py


def words_of(experiment: str, group: str, option: str) -> list[str]:
    data = option if group == "data" else {"lung_nodule": "phantom"}.get(experiment)
    required = {"phantom": (), "implanted": ("hosts", "nodules")}.get(data, ("root",))
    given = [f"data.{key}=scans" for key in required]
    narrow = [] if group == "network" else ["network.channels=[8,16,32,64]"]  # each network as it is has its own test
    return [f"+experiment={experiment}", f"{group}={option}", *given, *narrow, "trainer.accelerator=cpu"]


def random_patch(divisor: tuple[int, int, int]) -> dict[str, torch.Tensor]:
    """The smallest patch that a network takes, which is padded for it, with a lesion."""
    rng, shape = np.random.default_rng(0), (1, divisor[0] + 1, *divisor[1:])
    image = torch.from_numpy(rng.random(shape, dtype=np.float32))
    return {"image": image, "label": (image > 0.7).to(torch.uint8)}


@pytest.mark.parametrize(("group", "option"), OPTIONS)
@pytest.mark.parametrize("experiment", SEGMENTATIONS)
def test_an_option_takes_a_step(experiment, group, option):
    words = words_of(experiment, group, option)
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
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, module.network.parameters(), strict=True))
