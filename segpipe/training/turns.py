"""Training next to another training: batches are computed in turns where both would take all cores."""

from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch

from segpipe.system.machine.turns import take_turn


class BatchesInTurns(pl.Callback):
    """Takes a turn for each batch; for one process on a CPU, since processes that train together wait in theirs."""

    def __init__(self) -> None:
        self._turn = ExitStack()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Waits for a turn."""
        self._turn.enter_context(take_turn(torch.get_num_threads()))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Lets others have theirs."""
        self._turn.close()

    def on_validation_batch_start(self, *given: Any) -> None:
        """Waits for a turn."""
        self._turn.enter_context(take_turn(torch.get_num_threads()))

    def on_validation_batch_end(self, *given: Any) -> None:
        """Lets others have theirs."""
        self._turn.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Ends a turn that was broken off."""
        self._turn.close()
