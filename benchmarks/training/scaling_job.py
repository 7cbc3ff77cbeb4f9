"""One training that `scaling.py` measures; Lightning starts this file once more for each further process.

python benchmarks/training/scaling_job.py FILE [key=value ...]
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from segpipe.system.processes.launched import this_rank

SHARES = ("loading", "forward", "backward", "communication", "logging")
_WARM = 0.3


class StepClock(pl.Callback):
    """Times the parts of each step.

    Communication is what is waited for after the last gradients are there: what is reduced before goes on behind the
    backward pass. Of logging it is the part that holds up the step.
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.reduced: list[int] = []
        self._mark = self._last_bucket = 0.0
        self._now: dict[str, float] = {}
        self._bytes = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Listens at the reduction of gradients and at the logger."""
        model = trainer.strategy.model
        if isinstance(model, DistributedDataParallel):
            model.register_comm_hook(None, self._reduce)
        assert trainer.logger is not None
        trainer.logger.log_metrics = self._timed(trainer.logger.log_metrics)  # type: ignore[method-assign]
        self._mark = time.perf_counter()

    def on_train_batch_start(self, *given: Any) -> None:
        """The batch is there."""
        self._now = dict.fromkeys(SHARES, 0.0)
        self._bytes, self._last_bucket = 0, 0.0
        self._now["loading"] = self._lap()

    def on_before_backward(self, *given: Any) -> None:
        """The loss is there."""
        self._now["forward"] = self._lap()

    def on_after_backward(self, *given: Any) -> None:
        """The gradients are there, from all processes."""
        end = time.perf_counter()
        self._now["communication"] = end - self._last_bucket if self._last_bucket else 0.0
        self._now["backward"] = self._lap() - self._now["communication"]

    def on_train_batch_end(self, *given: Any) -> None:
        """The step is done, and so are the callbacks before this one, which log."""
        total = sum(self._now.values()) - self._now["logging"] + self._lap()
        self.steps.append({**self._now, "total": total})
        self.reduced.append(self._bytes)

    def facts(self, batch: int, ranks: int) -> dict[str, float]:
        """Medians over the steps after the warm-up."""
        steps = self.steps[int(len(self.steps) * _WARM) :]
        total = statistics.median(step["total"] for step in steps)
        shares = {name: statistics.median(step[name] for step in steps) / total for name in SHARES}
        return {"step_s": total, "samples_per_s": batch * ranks / total, "bytes": self.reduced[-1], **shares}

    def _reduce(self, state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

        self._bytes += bucket.buffer().nbytes
        self._last_bucket = time.perf_counter()
        reduced: torch.futures.Future[torch.Tensor] = allreduce_hook(None, bucket)  # type: ignore[arg-type]
        return reduced

    def _timed(self, log: Callable[..., None]) -> Callable[..., None]:
        def log_metrics(*given: Any, **named: Any) -> None:
            begin = time.perf_counter()
            log(*given, **named)
            if self._now:
                self._now["logging"] += time.perf_counter() - begin

        return log_metrics

    def _lap(self) -> float:
        now = time.perf_counter()
        lap, self._mark = now - self._mark, now
        return lap


CLOCK = StepClock()


def the_clock() -> StepClock:
    """The callback that the configuration names; this process has one."""
    return CLOCK


def run(words: list[str], folder: Path) -> dict[str, float]:
    """Trains as configured; what was measured. The folder is one for all processes."""
    from training import settings_for

    from segpipe.training.data.run_data import prepare_data
    from segpipe.training.fitting import fit, recipe_of
    from segpipe.training.hardware import compute_of

    settings = settings_for(["callbacks=[{_target_: scaling_job.the_clock}]", "tracking=none", *words])
    data = prepare_data(settings, recipe_of(settings))
    provenance = {"digest": data.recipe.digest, "network": settings.network}
    folder.mkdir(exist_ok=True)
    fit(settings, data.patches(settings), folder, provenance=provenance, log_metrics=lambda values, step: None)
    clock = sys.modules["scaling_job"].CLOCK
    facts: dict[str, float] = clock.facts(settings.training.batch_size, compute_of(settings.trainer).processes)
    return facts


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    target = Path(sys.argv[1])
    found = run(sys.argv[2:], target.parent / "run")
    if this_rank() == 0:
        target.write_text(json.dumps(found))
