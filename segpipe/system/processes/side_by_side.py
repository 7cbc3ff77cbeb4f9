"""The same job for several numbers, in as many processes as there are devices, each on one."""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from logging.handlers import QueueHandler, QueueListener
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from typing import Any

import torch

from segpipe.errors import SegpipeError, TrainingError
from segpipe.system.case_errors import as_case_error
from segpipe.system.processes.stopping import Stopped, follow_parent, stoppable

log = logging.getLogger(__name__)
_SPAWN = get_context("spawn")  # a fork of a process that has used threads or a GPU can hang
_GPUS = "CUDA_VISIBLE_DEVICES"


def run_side_by_side(job: Callable[[int], Any], count: int, *, devices: int, name: str) -> list[Any]:
    """Gives each number to the next process that is free; one that fails takes no other with it.

    What the processes log goes to the log of this one. A signal to this one lets them save and end.

    Args:
        job: Takes a number from 0; a function of a module, or a `partial` of one.
        count: How many numbers there are.
        devices: How many processes there are; each sees one GPU, if there are any, and has its share of the threads.
            Where there are fewer GPUs, several processes share each.
        name: What a number stands for, e.g. `fold`.

    Returns:
        What comes of each number, or the error that it ended in.
    """
    waiting, outcomes = list(range(count)), dict[int, Any]()
    with _gathered_log() as queue, _ended() as workers:
        start = partial(_Worker.start, job, name, queue)
        workers += [start(_Place(device, devices)) for device in range(min(devices, count))]
        free = list(workers)
        while len(outcomes) < count:
            while waiting and free:
                free.pop(0).take(waiting.pop(0))
            ready = wait([one.pipe for one in workers if one not in free])
            for done in [one for one in workers if one.pipe in ready]:
                outcomes[done.number] = done.outcome()
                if not done.process.is_alive():
                    workers.remove(done)
                    done = start(done.place)
                    workers.append(done)
                free.append(done)
        for one in workers:
            one.pipe.close()
        for one in workers:
            one.process.join()
    return [outcome for _, outcome in sorted(outcomes.items())]


@dataclass(frozen=True)
class _Place:
    """Where a process works.

    Args:
        device: The number of its device.
        devices: How many are in use.
    """

    device: int
    devices: int

    def take(self) -> None:
        """Gives this process one of the GPUs, and its share of the threads."""
        known = os.environ.get(_GPUS, "")
        gpus = known.split(",") if known else [str(number) for number in range(max(torch.cuda.device_count(), 1))]
        os.environ[_GPUS] = gpus[self.device % len(gpus)]
        torch.set_num_threads(max(1, torch.get_num_threads() // self.devices))


@dataclass(eq=False)
class _Worker:
    """A process that works on one number after another.

    Args:
        name: What a number stands for.
        place: Where it works.
        process: The process.
        pipe: Where numbers go and results come.
        number: What it works on, or did last.
    """

    name: str
    place: _Place
    process: BaseProcess
    pipe: Connection
    number: int = -1

    @classmethod
    def start(cls, job: Callable[[int], Any], name: str, queue: "Queue[Any]", place: _Place) -> "_Worker":
        """Starts it; it waits for a number."""
        pipe, end = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(job, name, place, end, queue), name=f"{name}s of a device")
        process.start()
        end.close()
        return cls(name, place, process, pipe)

    def take(self, number: int) -> None:
        """Gives it a number; the result of a process that has been killed while it waited is that it was."""
        self.number = number
        with suppress(OSError):
            self.pipe.send(number)

    def outcome(self) -> Any:
        """What it sends: nothing when it was killed."""
        try:
            sent = pickle.loads(self.pipe.recv_bytes())  # of a process of our own
        except (EOFError, OSError):
            self.process.join()
            hint = "see what it wrote; a process that is killed most likely lacks memory"
            sent = TrainingError("a process has ended early", facts={"exit code": self.process.exitcode}, hint=hint)
        return sent.with_facts(of=f"{self.name} {self.number}") if isinstance(sent, SegpipeError) else sent


def _work(job: Callable[[int], Any], name: str, place: _Place, pipe: Connection, queue: "Queue[Any]") -> None:
    """What a process does; results are pickled whole, since tensors are otherwise shared with a process that ends."""
    follow_parent()
    handler = _log_to(queue)
    place.take()
    try:
        with stoppable():
            for number in _numbers(pipe):
                handler.setFormatter(logging.Formatter(f"{name} {number}: %(message)s"))
                pipe.send_bytes(pickle.dumps(_attempt(job, number)))
    except Stopped as stop:
        sys.exit(stop.exit_code)


def _numbers(pipe: Connection) -> Iterator[int]:
    """The numbers that come, until no more can."""
    with suppress(EOFError):
        while True:
            yield pipe.recv()


def _attempt(job: Callable[[int], Any], number: int) -> Any:
    try:
        return job(number)
    except SegpipeError as error:
        return error
    except Exception as error:
        log.exception("it failed")
        return as_case_error(error)


@contextmanager
def _gathered_log() -> "Iterator[Queue[Any]]":
    """A queue to log to, whose lines come to the handlers of this process."""
    queue: Queue[Any] = _SPAWN.Queue()
    listener = QueueListener(queue, *logging.getLogger().handlers, respect_handler_level=True)
    listener.start()
    try:
        yield queue
    finally:
        listener.stop()


def _log_to(queue: "Queue[Any]") -> QueueHandler:
    handler = QueueHandler(queue)
    logging.getLogger().addHandler(handler)
    logging.getLogger("segpipe").setLevel(logging.INFO)
    return handler


@contextmanager
def _ended() -> "Iterator[list[_Worker]]":
    """A list of processes; those that still work at the end of the block are asked to end, and waited for."""
    workers: list[_Worker] = []
    try:
        yield workers
    finally:
        for one in workers:
            one.process.terminate()
        for one in workers:
            one.process.join()
