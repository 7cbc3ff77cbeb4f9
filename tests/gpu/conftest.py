"""What the tests on a GPU share: the device, and short trainings on it."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch

from segpipe.training.fitting import TrainingResult


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The GPU; with SEGPIPE_GPU=cpu the CPU, which shows that the tests themselves work; else the tests skip."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ.get("SEGPIPE_GPU") != "cpu":
        pytest.skip("there is no GPU; SEGPIPE_GPU=cpu runs what of this a CPU can")
    return torch.device("cpu")


@pytest.fixture(autouse=True)
def _alone():
    """What a training with DDP sets up in this process does not stay for the next one."""
    before = dict(os.environ)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def cuda(device) -> torch.device:
    """The GPU, for what a CPU cannot do."""
    if device.type != "cuda":
        pytest.skip("a CPU cannot do this")
    return device


@pytest.fixture(scope="session")
def losses(tiny_words, tmp_path_factory) -> Callable[..., list[float]]:
    """Trains four steps and returns their losses."""
    from segpipe.cli.train import registries
    from segpipe.config.check import settings_of
    from segpipe.config.compose import compose
    from segpipe.training.data.run_data import prepare_data
    from segpipe.training.fitting import fit, recipe_of

    def run(*words: str, folder: Path | None = None) -> list[float]:
        given = [*tiny_words, "tracking=none", "network.dropout=0.0", "trainer.max_steps=4", *words]
        settings, seen = settings_of(compose(given, registries), registries()), {}
        data = prepare_data(settings, recipe_of(settings))

        def note(values: Mapping[str, float], step: int) -> None:
            seen.update({step: values["train/loss"]} if "train/loss" in values else {})

        provenance = {"digest": data.recipe.digest, "network": settings.network}
        result = fit(
            settings,
            data.patches(settings),
            folder or tmp_path_factory.mktemp("run"),
            provenance=provenance,
            log_metrics=note,
        )
        assert isinstance(result, TrainingResult)
        return [seen[step] for step in sorted(seen)]

    return run
