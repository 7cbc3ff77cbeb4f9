"""Checkpoints of tensors and plain data, written whole or not at all, and found again after a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from segpipe.errors import ConfigError, ModelError, OutputError
from segpipe.system.atomic_write import atomic_write
from segpipe.system.stopping import Stopped, catch_signals, stop_asked

LAST, BEST = "last.ckpt", "best.ckpt"
MONITOR = "val/pseudo_dice"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes under another name and renames, so a kill leaves the old checkpoint; reads without unpickling code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Writes a checkpoint.

        Raises:
            OutputError: when the disk is full or not writable; the former checkpoint stays.
        """
        target = Path(path)
        try:
            with atomic_write(target, durable=True) as part, part.open("wb") as stream:
                torch.save(checkpoint, stream)
        except (OSError, RuntimeError) as error:
            raise OutputError(
                "the checkpoint could not be written; the former one is kept",
                facts={"file": target, "found": error},
                hint="free disk space and start again with resume=true",
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True) -> dict[str, Any]:
        """Reads a checkpoint as tensors and plain data only.

        Raises:
            ModelError: when it is damaged.
        """
        return read_checkpoint(Path(path))


class Checkpoints(pl.Callback):
    """Keeps `last.ckpt` every few steps and `best.ckpt` by the validation patches' Dice.

    Args:
        folder: Where both are written.
        every: Steps between two `last.ckpt`.
        validate_every: Steps between two validations; at those the last checkpoint waits one step, because Lightning
            does not repeat a validation that a kill cut off.
        is_sound: Whether a module's weights are worth keeping; others replace no checkpoint.
    """

    def __init__(
        self, folder: Path, *, every: int, validate_every: int, is_sound: Callable[[torch.nn.Module], bool]
    ) -> None:
        self.folder = folder
        self.every = every
        self.validate_every = validate_every
        self.is_sound = is_sound
        self.best: float | None = None
        self._due = False
        self._saved_step = 0

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far, so that a resumed run goes on comparing with it."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the best figure of the run that is resumed."""
        self.best = state_dict["best"]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Writes `last.ckpt` when it is due, and when the run is asked to stop, which all its processes then do."""
        step = trainer.global_step
        stopping = _agreed_stop(trainer)
        self._due = self._due or bool(stopping) or (step > self._saved_step and step - self._saved_step >= self.every)
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if accumulating or step % self.validate_every == 0:
            return
        if self._due and self.is_sound(pl_module):
            self._save(trainer, LAST)
        if stopping:
            raise Stopped(stopping)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Writes `best.ckpt` after a validation that beats all before it."""
        if trainer.sanity_checking or not self.is_sound(pl_module):
            return
        if MONITOR not in trainer.callback_metrics:
            raise ConfigError(
                f"the module must log {MONITOR} when it validates, by which the best checkpoint is chosen",
                facts={"module": type(pl_module).__name__, "logged": ", ".join(trainer.callback_metrics) or "nothing"},
                hint="call super() in the validation methods that the module overrides",
            )
        figure = float(trainer.callback_metrics[MONITOR])
        if self.best is None or figure > self.best:
            self.best = figure
            trainer.save_checkpoint(self.folder / BEST)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Counts from the step that a resumed run starts with."""
        self._saved_step = trainer.global_step
        catch_signals()  # Lightning's own handler ends with exit code 0, and processes can wait for each other in it

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Writes the finished weights, and names them best where no validation happened."""
        self._save(trainer, LAST)
        if not (self.folder / BEST).exists():
            trainer.save_checkpoint(self.folder / BEST)

    def _save(self, trainer: pl.Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name)
        self._saved_step, self._due = trainer.global_step, False


def _agreed_stop(trainer: pl.Trainer) -> int:
    """The signal that any of the processes has got, which all of them stop by; 0 for none."""
    if trainer.world_size == 1:
        return stop_asked()
    asked = torch.tensor(stop_asked(), device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(asked, reduce_op="max"))


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Opens a checkpoint with `torch.load(weights_only=True)`.

    Raises:
        ModelError: when the file is missing, damaged or holds more than tensors and plain data.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ModelError(
            "the checkpoint cannot be read",
            facts={"file": file, "found": next(iter(str(error).splitlines()), type(error).__name__)},
            hint="take another checkpoint of the run, e.g. best.ckpt",
        ) from error
    if not isinstance(content, dict) or "segpipe" not in content:
        raise ModelError("the file is not a segpipe checkpoint", facts={"file": file})
    return content


def find_resumable(run_folder: Path) -> Path | None:
    """The newest checkpoint of a run that can be read, or None when the run has none.

    Raises:
        ModelError: when there are checkpoints but none can be read.
    """
    files = [file for name in (LAST, BEST) if (file := run_folder / "checkpoints" / name).exists()]
    failure: ModelError | None = None
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            read_checkpoint(file)
        except ModelError as error:
            failure = error
        else:
            return file
    if failure:
        raise failure
    return None
