"""The part of a training's time that waits for data, with the whole trainer around the step."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from gpu_sizes import Row, Sizes

from segpipe.training.data.run_data import prepare_data
from segpipe.training.fitting import recipe_of

sys.path.append(str(Path(__file__).parents[1] / "training"))


def rows(device: torch.device, sizes: Sizes) -> Iterator[Row]:
    """Steps per second and the waiting share of the main job's settings, with the networks of patients' scans."""
    from training import measure, settings_for

    if not sizes.cases:
        return
    with tempfile.TemporaryDirectory() as cache:
        words = [f"data.cases={sizes.cases}", f"data.cache={cache}", "trainer.max_steps=60", "tracking=none"]
        words += [f"trainer={'gpu' if device.type == 'cuda' else 'cpu'}", "training.validate_every=60", "network=unet"]
        base = settings_for(words)
        run_data = prepare_data(base, recipe_of(base))
        for workers in ("auto", 0):
            speed, wait = measure(settings_for([*words, f"trainer.workers={workers}"]), run_data)
            yield Row(f"unet, trainer.workers={workers}", f"{speed:7.2f} steps/s, waiting for data {wait:.1%}")
