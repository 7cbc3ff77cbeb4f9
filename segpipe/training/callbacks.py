"""What is watched while weights are learnt: loss, learning rate, throughput and the time spent waiting for data."""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities import rank_zero_only

from segpipe.parts import Registry, build_part
from segpipe.parts.building import try_part
from segpipe.system.files.atomic_write import append_whole
from segpipe.system.progress import show_progress

log = logging.getLogger(__name__)
HISTORY = "metrics.jsonl"
LogMetrics = Callable[[dict[str, float], int], None]


class RunLogger(Logger):
    """Lightning's logger: keeps each point in the run folder and hands it to the tracking server.

    Args:
        folder: The run folder; points go to its `metrics.jsonl`.
        log_metrics: Takes `{name: value}` and a step.
    """

    def __init__(self, folder: Path, log_metrics: LogMetrics) -> None:
        super().__init__()
        self.folder = folder
        self._log = log_metrics
        self._unwritten = ""

    @property
    def name(self) -> str:
        """The logger's name."""
        return "segpipe"

    @property
    def version(self) -> str:
        """The run folder's name."""
        return self.folder.name

    @property
    def experiment(self) -> Path:
        """The run folder."""
        return self.folder

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is logged whole when the run starts."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Logs one point of each metric."""
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        if not values:
            return
        self._write(json.dumps({"step": step or 0, **values}) + "\n")
        self._log(values, step or 0)

    def _write(self, line: str) -> None:
        """What a full disk does not take is written when it does; curves end no training."""
        first = not self._unwritten
        self._unwritten += line
        try:
            append_whole(self.folder / HISTORY, self._unwritten)
            self._unwritten = ""
        except OSError as error:
            if first:
                log.warning("%s cannot be written, its lines wait: %s", HISTORY, error.strerror or error)


def _try_callback(spec: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Whether it can be built and is one of Lightning's."""
    return try_part(lambda: build_part(CALLBACKS, spec), pl.Callback)


CALLBACKS = Registry("callbacks", {}, group="segpipe.callbacks", trial=_try_callback)


class ThroughputMonitor(pl.Callback):
    """Logs loss, learning rate, samples per second and the fraction of time spent waiting for data.

    Args:
        every: Steps between two points.
        batch: Samples per optimizer step over all devices.
    """

    def __init__(self, *, every: int, batch: int) -> None:
        self.every = every
        self.batch = batch
        self._waited = self._worked = 0.0
        self._steps = 0
        self._mark = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Starts the clock."""
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Counts the time since the last batch as waiting for data."""
        self._waited += self._lap()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Counts the time of the batch as work, and logs when it is time."""
        self._worked += self._lap()
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._steps += 1
        if trainer.global_step % self.every == 0 and trainer.logger:
            trainer.logger.log_metrics(self._figures(trainer, outputs), trainer.global_step)
            self._waited, self._worked, self._steps = 0.0, 0.0, 0
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Leaves validation out of both times."""
        self._mark = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._mark = now - self._mark, now
        return lap

    def _figures(self, trainer: pl.Trainer, outputs: Any) -> dict[str, float]:
        seconds = max(self._waited + self._worked, 1e-9)
        loss = trainer.strategy.reduce(outputs["loss"].clone(), reduce_op="mean")  # in all processes
        return {
            "train/loss": float(loss) * trainer.accumulate_grad_batches,
            "train/lr": float(trainer.optimizers[0].param_groups[0]["lr"]),
            "train/samples_per_second": self._steps * self.batch / seconds,
            "train/data_wait_fraction": self._waited / seconds,
        }


class TrainingProgress(pl.Callback):
    """Shows the whole training: steps, the last loss and the last validation."""

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begins at the step that is reached."""
        self._progress = show_progress(
            int(trainer.max_steps), title="training", unit="step", initial=trainer.global_step
        )

    @rank_zero_only
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Adds the optimizer steps that were taken."""
        moved = trainer.global_step - self._progress.n
        if moved:
            seen = {name.rpartition("/")[2]: f"{float(value):.3f}" for name, value in trainer.callback_metrics.items()}
            shown: dict[str, object] = {name: seen[name] for name in ("loss", "pseudo_dice") if name in seen}
            self._progress.set_postfix(shown, refresh=False)
            self._progress.update(moved)

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Shows where it ended."""
        self._progress.close()


def read_history(folder: Path) -> list[dict[str, float]]:
    """The points of a run's curves, in the order of their steps; of a step that was repeated the last one counts."""
    file = folder / HISTORY
    if not file.exists():
        return []
    rows: dict[tuple[float, tuple[str, ...]], dict[str, float]] = {}
    for line in file.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue  # a kill can cut the last line
        rows[(row["step"], tuple(sorted(row)))] = row
    return sorted(rows.values(), key=lambda row: row["step"])
