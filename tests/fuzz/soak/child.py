"""Runs a reader's inputs in a process of their own, so that one that ends it or never ends is seen and passed over."""

import os
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutations import little_memory
from tests.fuzz.soak.reader import Reader

SECONDS_PER_INPUT = 60
"""One that takes longer counts as a fault."""
_FORK = get_context("fork")
_NEXT, _READ, _REFUSED, _PEAK, _PREPARED = range(5)
"""What a process writes into memory that outlives it; the peak is in KiB."""
_NOT_DONE = 99
"""How a process ends that was given no time to go through its inputs."""


@dataclass
class Outcome:
    """What became of a reader's inputs.

    Args:
        read: How many were read.
        refused: How many were refused with one of the reader's own errors.
        faults: What else happened → number of the first input with it.
        times: How often each fault happened.
        peak_mib: Most memory above that of the process before its first input.
        seconds: How long all took.
    """

    read: int = 0
    refused: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    peak_mib: float = 0
    seconds: float = 0

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return self.read + self.refused + self.times.total()

    def add_fault(self, what: str, number: int) -> None:
        """Counts a fault."""
        self.faults.setdefault(what, number)
        self.times[what] += 1


def run_reader(reader: Reader, numbers: range, *, seed: int, until: float) -> Outcome:
    """Gives a reader the inputs of these numbers.

    Args:
        reader: Reads them.
        numbers: Which inputs; each is made of seed, reader and number alone.
        seed: Of all inputs.
        until: Time (`time.monotonic`) at which the run ends, finished or not.

    Raises:
        RuntimeError: when the reader cannot be prepared.
    """
    outcome, started, left = Outcome(), time.monotonic(), numbers
    while left and time.monotonic() < until:
        left = _run_process(reader, left, outcome, seed, until)
    outcome.seconds = time.monotonic() - started
    return outcome


def _run_process(reader: Reader, numbers: range, outcome: Outcome, seed: int, until: float) -> range:
    """Runs inputs in one process until they, or it, end; returns those that are left."""
    receiving, sending = _FORK.Pipe(duplex=False)
    shared = _FORK.Array("q", [numbers.start, 0, 0, 0, 0], lock=False)
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    process = _FORK.Process(target=_attempt_all, args=(reader, numbers, seed, until, folder, shared, sending))
    process.start()
    sending.close()
    try:
        hung = _hangs(receiving, shared, outcome)
    finally:
        process.kill() if process.is_alive() and hung else None
        process.join()
        shutil.rmtree(folder, ignore_errors=True)
    if not shared[_PREPARED]:
        raise RuntimeError(f"{reader.name} cannot be prepared")
    outcome.read, outcome.refused = outcome.read + shared[_READ], outcome.refused + shared[_REFUSED]
    outcome.peak_mib = max(outcome.peak_mib, shared[_PEAK] / 1024)
    if process.exitcode in (0, _NOT_DONE):
        return range(numbers.stop, numbers.stop)
    what = f"took more than {SECONDS_PER_INPUT} s" if hung else f"ended the process (exit code {process.exitcode})"
    outcome.add_fault(what, shared[_NEXT])
    return range(shared[_NEXT] + 1, numbers.stop)


def _hangs(receiving: Connection, shared: Any, outcome: Outcome) -> bool:
    """Takes the faults that a process reports until it ends; True when it has not come further for too long."""
    number, since = shared[_NEXT], time.monotonic()
    while True:
        try:
            if receiving.poll(1):
                outcome.add_fault(*receiving.recv())
        except EOFError:
            return False
        if shared[_NEXT] != number:
            number, since = shared[_NEXT], time.monotonic()
        elif time.monotonic() - since > SECONDS_PER_INPUT:
            return True


def _attempt_all(
    reader: Reader, numbers: range, seed: int, until: float, folder: Path, shared: Any, sending: Connection
) -> None:
    attempt = reader.prepare(folder)
    shared[_PREPARED] = 1
    _silence()
    before = _peak_kib()
    with little_memory():
        for number in numbers:
            if time.monotonic() > until:
                os._exit(_NOT_DONE)
            shared[_NEXT] = number
            try:
                attempt(Random(f"{seed} {reader.name} {number}"))
                shared[_READ] += 1
            except reader.refuses:
                shared[_REFUSED] += 1
            except Exception as error:
                sending.send((_place(error), number))
            shared[_PEAK] = _peak_kib() - before


def _place(error: Exception) -> str:
    """The kind of an error and where it came from, by which the same fault is known again."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/segpipe/" in frame.filename] or frames
    places = {(Path(frame.filename).name, frame.lineno) for frame in (own[-1], frames[-1])}
    return f"{type(error).__name__} in " + ", ".join(f"{name}:{line}" for name, line in sorted(places))


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _silence() -> None:
    """Libraries print what they think of garbled files."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
