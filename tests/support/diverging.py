"""A training that diverges at once."""

from typing import Any

import pytorch_lightning as pl

from segpipe.errors import TrainingError


class Diverges(pl.Callback):
    """Ends a training as one ends whose loss is not finite."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        raise TrainingError("the training diverged: the loss is not finite")
