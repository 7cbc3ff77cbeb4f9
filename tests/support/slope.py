"""The smallest training: one number is learnt, and its gradient is the batch itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from segpipe.training.callbacks import RunLogger
from segpipe.training.checkpoints.files import CheckpointWriter


class Slope(pl.LightningModule):
    """Learns the number w, 8 at first; the loss is w × batch. Its checkpoints are segpipe's."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.network.weight, 8.0)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.network.weight * batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0, weight_decay=0.5)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["segpipe"] = {}


def train(
    batches: list[float],
    callbacks: list[pl.Callback],
    folder: Path,
    *,
    module: pl.LightningModule | None = None,
    ckpt_path: Path | None = None,
    plugins: Sequence[Any] = (),
    **settings: Any,
) -> tuple[Any, pl.Trainer]:
    """Trains on batches of one number each; returns the module and the trainer."""
    module = module or Slope()
    trainer = pl.Trainer(
        **{"max_epochs": 1, "accelerator": "cpu", **settings},
        logger=RunLogger(folder, lambda values, step: None),
        callbacks=callbacks,
        plugins=[CheckpointWriter(), *plugins],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.tensor(batches), batch_size=1), ckpt_path=ckpt_path)
    return module, trainer
