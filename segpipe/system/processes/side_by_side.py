"""The same job for several numbers in processes of their own: as many at a time as there are devices, each on one."""

import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """Starts a process for each number as soon as a device is free; one that fails takes no other with it.

    What the processes log goes to the log of this one. A signal to this one lets them save and end.

    Args:
        job: Takes a number from 0; a function of a module, or a `partial` of one.
        count: How many numbers there are.
        devices: How many at a time; each process sees one GPU, if there are any, and has its share of the threads.
            Where there are fewer GPUs, several processes share each.
        name: What a number stands for, e.g. `fold`.

    Returns:
        What comes of each number, or the error that it ended in.
    """
    waiting, free, outcomes = list(range(count)), list(range(devices)), dict[int, Any]()
    with _gathered_log() as queue, _ended() as running:
        while waiting or running:
            while waiting and free:
                number, device = waiting.pop(0), free.pop(0)
                place = _Place(f"{name} {number}", device, devices)
                running.append(_Running.start(partial(job, number), number, place, queue))
            ready = wait([one.result for one in running])
            for done in [one for one in running if one.result in ready]:
                outcomes[done.number] = done.outcome()
                running.remove(done)
                free.append(done.place.device)
    return [outcome for _, outcome in sorted(outcomes.items())]


@dataclass(frozen=True)
class _Place:
    """Where a process works.

    Args:
        name: What its lines in the log begin with.
        device: The number of its device.
        devices: How many are in use.
    """

    name: str
    device: int
    devices: int

    def take(self) -> None:
        """Gives this process one of the GPUs, and its share of the threads."""
        known = os.environ.get(_GPUS, "")
        gpus = known.split(",") if known else [str(number) for number in range(max(torch.cuda.device_count(), 1))]
        os.environ[_GPUS] = gpus[self.device % len(gpus)]
        torch.set_num_threads(max(1, torch.get_num_threads() // self.devices))


@dataclass(frozen=True)
class _Running:
    """A process at work.

    Args:
        number: What it works on.
        place: Where.
        process: The process.
        result: Where its result comes.
    """

    number: int
    place: _Place
    process: BaseProcess
    result: Connection

    @classmethod
    def start(cls, job: Callable[[], Any], number: int, place: _Place, queue: "Queue[Any]") -> "_Running":
        """Starts it."""
        result, end = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_work, args=(job, place, end, queue), name=place.name)
        process.start()
        end.close()
        return cls(number, place, process, result)

    def outcome(self) -> Any:
        """What it sends: nothing when it was killed."""
        try:
            sent = pickle.loads(self.result.recv_bytes())  # of a process of our own
        except EOFError:
            self.process.join()
            hint = "see what it wrote; a process that is killed most likely lacks memory"
            sent = TrainingError("a process has ended early", facts={"exit code": self.process.exitcode}, hint=hint)
        self.process.join()
        return sent.with_facts(of=self.place.name) if isinstance(sent, SegpipeError) else sent


def _work(job: Callable[[], Any], place: _Place, result: Connection, queue: "Queue[Any]") -> None:
    """What a process does; its result is pickled whole, since tensors are otherwise shared with a process that ends."""
    follow_parent()
    _log_to(queue, place.name)
    place.take()
    try:
        with stoppable():
            found = job()
    except Stopped as stop:
        sys.exit(stop.exit_code)
    except SegpipeError as error:
        found = error
    except Exception as error:
        log.exception("it failed")
        found = as_case_error(error)
    result.send_bytes(pickle.dumps(found))


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


def _log_to(queue: "Queue[Any]", name: str) -> None:
    handler = QueueHandler(queue)
    handler.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("segpipe").setLevel(logging.INFO)


@contextmanager
def _ended() -> "Iterator[list[_Running]]":
    """A list of processes; those that are left in it at the end of the block are asked to end, and waited for."""
    running: list[_Running] = []
    try:
        yield running
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.join()
