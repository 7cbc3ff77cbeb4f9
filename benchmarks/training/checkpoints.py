"""What a checkpoint costs the step that saves it and the one after it, in the background and at once.

    python benchmarks/training/checkpoints.py [--steps 24] [--every 4] [key=value ...]

Prints ratios of the same run: the median step that saves, and the median step after it, over the median of the others.
"""

import argparse
import logging
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from training import settings_for

from segpipe.config.schema import Settings
from segpipe.training.checkpoints.files import LAST, CheckpointWriter
from segpipe.training.data.run_data import RunData, prepare_data
from segpipe.training.fitting import build_module, build_trainer, recipe_of

WARM_UP = 2
LIMIT = 1.2


class AtOnce(CheckpointWriter):
    """Waits for the disk in the step that saves."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint."""
        super().save_checkpoint(checkpoint, path, storage_options)
        self.wait()


class Stopwatch(pl.Callback):
    """Measures steps from the start of one to the start of the next, with all that callbacks do in between."""

    def __init__(self) -> None:
        self.starts: list[float] = []

    def on_train_batch_start(self, *_: Any) -> None:
        """Notes the time."""
        self.starts.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Of each step but the last."""
        return [after - before for before, after in zip(self.starts, self.starts[1:], strict=False)]


def measure(settings: Settings, run_data: RunData, writer: CheckpointWriter) -> tuple[list[float], int]:
    """Seconds of each step, and the bytes of a checkpoint."""
    watch = Stopwatch()
    provenance = {"digest": run_data.recipe.digest, "network": settings.network}
    with tempfile.TemporaryDirectory() as name:
        trainer = build_trainer(settings, Path(name), lambda values, step: None)
        trainer.callbacks.insert(0, watch)
        trainer.strategy.checkpoint_io = writer
        trainer.fit(build_module(settings, provenance), datamodule=run_data.patches(settings))
        return watch.seconds, Path(name, "checkpoints", LAST).stat().st_size


def describe(seconds: list[float], every: int) -> str:
    """The median steps, and their ratios."""
    after = WARM_UP * every  # the first steps allocate memory
    of = [statistics.median(seconds[after + first :: every]) for first in range(every)]
    ordinary, saving = statistics.median(of[1:-1]), of[-1]
    return (
        f"step {ordinary * 1000:7.0f} ms, that saves {saving / ordinary:.3f}, after it {of[0] / ordinary:.3f} "
        f"(limit {LIMIT})"
    )


def main() -> None:
    """Prints both ways of writing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=4)
    arguments, words = parser.parse_known_args()
    steps, every = arguments.steps, arguments.every
    words += [f"trainer.max_steps={steps + 1}", f"training.validate_every={steps + 1}"]
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    settings = settings_for(["network=unet", f"training.checkpoint_every={every}", *words])
    run_data = prepare_data(settings, recipe_of(settings))
    for name, writer in {"in the background": CheckpointWriter(), "at once": AtOnce()}.items():
        seconds, size = measure(settings, run_data, writer)
        print(f"{name:18} {size / 1e6:.0f} MB, {describe(seconds[:steps], every)}", flush=True)


if __name__ == "__main__":
    main()
