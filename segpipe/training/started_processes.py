"""`trainer=ddp` without a launcher: the first process of a run starts the others, and none outlives the others."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen, TimeoutExpired

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port

from segpipe.config.overrides import as_text
from segpipe.errors import SegpipeError, TrainingError, explain
from segpipe.system.processes.forced_end import end_by_force
from segpipe.system.processes.hardware import Compute
from segpipe.system.processes.launched import launch, this_rank
from segpipe.training.resuming.settings import CONFIG

log = logging.getLogger(__name__)
_END_WITHIN_S = 10.0
_NOTICE_WITHIN_S = 120.0  # as long as the disk may take for a checkpoint
_STOPPED = 128
_LOOK_EVERY_S = 1.0


@contextmanager
def started_processes(compute: Compute, folder: Path) -> Iterator[None]:
    """Starts the other processes of a run where nobody else has, and ends them with the block, whatever it ends by.

    Lightning would start them by the words of this command line, which in a sweep are those of all its jobs, and kill
    this process as soon as one of them fails, so that nobody could say so.

    Args:
        compute: How many processes train together.
        folder: The folder of the run, whose configuration they read.

    Raises:
        TrainingError: when one of them has failed, and this one by that.
    """
    if compute.processes == 1 or launch() or this_rank():
        yield
        return
    with _share_of_threads(compute.processes) as threads:
        meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port()), "LOCAL_RANK": "0"}
        os.environ.update(meet)  # which Lightning reads
        processes = [_start(folder, rank, threads) for rank in range(1, compute.processes)]
        with _watched(processes):
            yield


def _start(folder: Path, rank: int, threads: int) -> Popen[bytes]:
    """A process that runs what the run's folder holds, and imports what this one can import."""
    own = {"LOCAL_RANK": rank, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    environment["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    words = ["--config-path", str(folder.absolute()), "--config-name", Path(CONFIG).stem]
    words += [f"hydra.run.dir={as_text(str(folder))}", "hydra.output_subdir=null", "hydra/job_logging=stdout"]
    return Popen([sys.executable, "-m", "segpipe", *words], env=environment)


@contextmanager
def _watched(processes: Sequence[Popen[bytes]]) -> Iterator[None]:
    over = threading.Event()
    threading.Thread(target=_watch, args=[processes, over], name="segpipe-processes", daemon=True).start()
    try:
        yield
    except Exception as error:
        failed = _end(processes)
        if failed and not isinstance(error, SegpipeError):
            raise _explain(failed) from error
        raise
    finally:
        over.set()
        _end(processes)


def _end(processes: Sequence[Popen[bytes]]) -> dict[int, int]:
    """Lets the processes end, and kills those that do not; returns the exit codes of those that failed, by rank."""
    codes: dict[int, int | None] = {}
    deadline = time.monotonic() + _END_WITHIN_S
    for rank, process in enumerate(processes, 1):
        try:  # most likely by the same error, or the same stop
            codes[rank] = process.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutExpired:
            process.kill()
            process.wait()
    return _failed(codes)


def _failed(codes: Mapping[int, int | None]) -> dict[int, int]:
    """Of the exit codes of processes those of failures, not of a stop that they have agreed on."""
    return {rank: code for rank, code in codes.items() if code and code < _STOPPED}


def _watch(processes: Sequence[Popen[bytes]], over: threading.Event) -> None:
    """A process that waits for one that is gone learns it by a closed connection; on some GPUs it never does."""
    while not (failed := _failed({rank: process.poll() for rank, process in enumerate(processes, 1)})):
        if over.wait(_LOOK_EVERY_S):
            return
    if not over.wait(_NOTICE_WITHIN_S):
        log.error("%s", explain(_explain(failed)))
        for process in processes:
            process.kill()
        end_by_force()


def _explain(failed: Mapping[int, int]) -> TrainingError:
    ends = {f"process {rank}": f"signal {-code}" if code < 0 else f"exit code {code}" for rank, code in failed.items()}
    return TrainingError(
        "a process that trained with this one has ended early",
        facts=ends,
        hint="see what it wrote, or if it was killed, whether memory sufficed; resume=true goes on",
    )


@contextmanager
def _share_of_threads(processes: int) -> Iterator[int]:
    threads = torch.get_num_threads()
    share = max(1, threads // processes)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(threads)
