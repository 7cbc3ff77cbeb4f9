"""A training that diverges at once, and one that fails as nobody foresaw."""

from typing import Any

import pytorch_lightning as pl

from segpipe.errors import TrainingError


class Diverges(pl.Callback):
    """Ends a training as one ends whose loss is not finite."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        raise TrainingError("the training diverged: the loss is not finite")


class Fails(pl.Callback):
    """Ends a training by a mistake in a part of the user's own."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        raise ValueError("no such axis")
