"""When checkpoints are written: every few steps, of the best validation, some to be kept, and before a stop."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import pytorch_lightning as pl
import torch

from segpipe.errors import ConfigError
from segpipe.system.processes.stopping import Stopped, catch_signals, stop_asked
from segpipe.training.checkpoints.files import BEST, LAST, CheckpointWriter

MONITOR = "val/pseudo_dice"


@dataclass(frozen=True)
class Monitor:
    """The figure of a validation by which the best checkpoint is chosen and a training may stop.

    Args:
        name: Under which the module logs it.
        mode: Whether the largest is the best, or the smallest.
    """

    name: str = MONITOR
    mode: Literal["max", "min"] = "max"

    def is_better(self, figure: float, best: float | None) -> bool:
        """Whether a figure beats the best so far."""
        return best is None or (figure > best if self.mode == "max" else figure < best)


class Checkpoints(pl.Callback):
    """Keeps `last.ckpt` every few steps, `best.ckpt` by a figure of validation patches, and `step_….ckpt` on request.

    Saving is a collective operation: all processes do it, or none. So whatever decides on it is the same in all of
    them, and what one process sees alone (its disk, its running statistics) is agreed upon first.

    Args:
        folder: Where they are written.
        every: Steps between two `last.ckpt`.
        validate_every: Steps between two validations; at those the last checkpoint waits one step, because Lightning
            does not repeat a validation that a kill cut off.
        is_sound: Whether a module's weights are worth keeping; others replace no checkpoint.
        keep_every: Steps between two checkpoints that are kept, named by their step; None keeps none.
        monitor: The figure that decides which one is the best.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int,
        validate_every: int,
        is_sound: Callable[[torch.nn.Module], bool],
        keep_every: int | None = None,
        monitor: Monitor = Monitor(),
    ) -> None:
        self.folder = folder
        self.every = every
        self.validate_every = validate_every
        self.is_sound = is_sound
        self.keep_every = keep_every
        self.monitor = monitor
        self.best: float | None = None
        self._figures: dict[str, float] = {}
        self._due = False
        self._saved_step = 0

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far, so that a resumed run goes on comparing with it, and what was last measured.

        A scheduler that looks at a validation takes its step after `best.ckpt` was written, in a resumed run too.
        """
        return {"best": self.best, "figures": self._figures}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the figures of the run that is resumed."""
        self.best, self._figures = state_dict["best"], state_dict.get("figures", {})

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Writes `last.ckpt` when it is due, and when the run is asked to stop, which all its processes then do."""
        step = trainer.global_step
        stopping = _agreed_stop(trainer)
        self._due = self._due or bool(stopping) or step - self._saved_step >= self.every or self._keeps(step)
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if accumulating or step % self.validate_every == 0:
            return
        if self._due and self._is_sound(trainer, pl_module):
            self._save_last(trainer)
        if stopping:
            raise Stopped(stopping)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Writes `best.ckpt` after a validation that beats all before it."""
        if trainer.sanity_checking or not self._is_sound(trainer, pl_module):
            return
        if self.monitor.name not in trainer.callback_metrics:
            raise ConfigError(
                f"the module must log {self.monitor.name} when it validates, by which the best checkpoint is chosen",
                facts={"module": type(pl_module).__name__, "logged": ", ".join(trainer.callback_metrics) or "nothing"},
                hint="call super() in the validation methods that the module overrides",
            )
        self._figures = {name: float(figure) for name, figure in trainer.callback_metrics.items()}
        figure = trainer.strategy.broadcast(self._figures[self.monitor.name])
        if self.monitor.is_better(figure, self.best):
            self.best = figure
            _save(trainer, self.folder / BEST)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Counts from the step that a resumed run starts with."""
        self._saved_step = trainer.global_step
        trainer.callback_metrics.update({name: torch.tensor(figure) for name, figure in self._figures.items()})
        catch_signals()  # Lightning's own handler ends with exit code 0, and processes can wait for each other in it

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Writes the finished weights, names them best where no validation happened, and waits for the disk."""
        self._save_last(trainer)
        if self.best is None:
            _save(trainer, self.folder / BEST)
        _writer(trainer).wait()
        _check_written(trainer)

    def _keeps(self, step: int) -> bool:
        """Whether a multiple of `keep_every` was reached after the last save."""
        return self.keep_every is not None and step // self.keep_every > self._saved_step // self.keep_every

    def _save_last(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        if self._keeps(step):  # first, so that a run that is killed in between goes on from it
            _save(trainer, self.folder / f"step_{step:07}.ckpt")
        _save(trainer, self.folder / LAST)
        self._saved_step, self._due = step, False

    def _is_sound(self, trainer: pl.Trainer, module: torch.nn.Module) -> bool:
        """Whether the weights are in all processes, each of which has running statistics of its own."""
        return trainer.strategy.reduce_boolean_decision(self.is_sound(module))


def _save(trainer: pl.Trainer, file: Path) -> None:
    _check_written(trainer)
    trainer.save_checkpoint(file)


def _check_written(trainer: pl.Trainer) -> None:
    """Raises in all processes what kept the one that writes from writing."""
    error: Exception | None = trainer.strategy.broadcast(_writer(trainer).error)
    if error:
        raise error


def _writer(trainer: pl.Trainer) -> CheckpointWriter:
    return cast(CheckpointWriter, trainer.strategy.checkpoint_io)


def _agreed_stop(trainer: pl.Trainer) -> int:
    """The signal that any of the processes has got, which all of them stop by; 0 for none."""
    if trainer.world_size == 1:
        return stop_asked()
    asked = torch.tensor(stop_asked(), device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(asked, reduce_op="max"))
