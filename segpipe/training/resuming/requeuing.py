"""A training in a Slurm job that is stopped before its time is up goes back into the queue and then goes on."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segpipe.errors import ServiceError, explain
from segpipe.system.files.walking import files_below
from segpipe.system.processes.launched import this_rank
from segpipe.system.processes.slurm import job_name, requeue_job
from segpipe.system.processes.stopping import Stopped

SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
"""What `sbatch --signal` asks for; SIGTERM is what `scancel` sends, and what it ends must not come again."""

log = logging.getLogger(__name__)


@contextmanager
def requeues(folder: Path, *, wanted: bool) -> Iterator[None]:
    """Requeues the job when SIGUSR1 or SIGUSR2 has stopped the block, after all in it was closed.

    A start that has saved nothing is not requeued: it would come back for ever.

    Args:
        folder: The run folder, whose checkpoints say whether the training got further.
        wanted: Whether to do anything at all.
    """
    before = _saves(folder)
    try:
        yield
    except Stopped as stop:
        if wanted and stop.number in SIGNALS and job_name() and this_rank() == 0:
            _requeue(saved=_saves(folder) != before)
        raise


def _requeue(*, saved: bool) -> None:
    if not saved:
        log.error("the job is not requeued: it has saved no step since it started, and would not get further")
        return
    try:
        log.info("job %s is requeued and goes on from here", requeue_job())
    except ServiceError as error:
        log.error("%s", explain(error))


def _saves(folder: Path) -> dict[Path, int]:
    """When each checkpoint of a run, or of a sweep's runs, was written; others may be writing some."""
    files = [file for file in files_below(folder, "*.ckpt") if file.parent.name == "checkpoints"]
    return {file: file.stat().st_mtime_ns for file in files}
