"""Turns on cores that are shared: two pools of threads, each as wide as the machine, wait for each other at every step.

oneDNN's gradients of weights meet at barriers that spin without end; a thread that has lost its core to another process
keeps the rest of its pool spinning for 4 ms each time, and two trainings on two cores take not twice but twenty times
as long. Steps that are taken in turns cost what they cost alone.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from segpipe.system.machine.contention import Contention
from segpipe.system.machine.cores import available_cores

try:
    import fcntl
except ImportError:  # Windows, where nobody waits
    fcntl = None  # type: ignore[assignment]

_PATIENCE_S = 60.0
_SLICE_S = 0.02
"""The threads of a turn that has ended still spin for a moment, so turns of a few milliseconds follow each other."""
_POLL_S = 0.0002


@contextmanager
def take_turn(threads: int) -> Iterator[None]:
    """Keeps other processes of this user from computing on the same cores until the block ends, and watches all others.

    Only those that take turns, too, wait; and only pools of which two do not fit take any, so never the processes that
    train together. A block that waits for another process would hold it up.

    Args:
        threads: How many compute in the block.
    """
    if threads < 2 or 2 * threads <= _cores():
        yield
        return
    with _shared_turns().take(), _contention().watch():
        yield


class Turns:
    """Turns among all who name the same folder and name; who waits comes before who has had a slice of turns.

    Args:
        folder: Where the locks are.
        name: What they are called.
        patience_s: Who waits for longer waits no more: whoever is at turn has been suspended, or is far slower.
        slice_s: Who comes right back within it goes on before who waits.
    """

    def __init__(self, folder: Path, name: str, *, patience_s: float = _PATIENCE_S, slice_s: float = _SLICE_S) -> None:
        self.patience_s, self.slice_s = patience_s, slice_s
        self._slice_ends = -math.inf
        self.waits = fcntl is not None
        with self._or_nobody_waits():
            self._next, self._now = (_open(folder / f"{name}.{lock}") for lock in ("next", "now"))

    @contextmanager
    def take(self) -> Iterator[None]:
        """Waits for a turn, which ends with the block, or with the process."""
        if self.waits:
            with self._or_nobody_waits():
                self._begin()
        taken = self.waits
        try:
            yield
        finally:
            if taken:
                fcntl.flock(self._now, fcntl.LOCK_UN)

    def _begin(self) -> None:
        now = time.monotonic()
        if now < self._slice_ends and _is_locked(self._now):
            return
        until = now + self.patience_s
        _lock(self._next, until, looks=1)
        try:
            _lock(self._now, until, looks=2)  # whoever is at turn may come right back
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)
        self._slice_ends = time.monotonic() + self.slice_s

    @contextmanager
    def _or_nobody_waits(self) -> Iterator[None]:
        """Without locks, or where the files are another's, turns are not worth an error."""
        try:
            yield
        except OSError:
            self.waits = False


def _open(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _lock(descriptor: int, until: float, *, looks: int) -> None:
    """Locks a file: in microseconds if it is free, and one that was not when it is free at so many looks in a row.

    Raises:
        OSError: when it is still another's at `until`, or nothing can be locked.
    """
    if _is_locked(descriptor):
        return
    free = 0
    while True:
        if time.monotonic() > until:
            raise TimeoutError("it is another's turn for too long")
        time.sleep(_POLL_S)
        free = free + 1 if _is_locked(descriptor) else 0
        if free == looks:
            return
        if free:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_locked(descriptor: int) -> bool:
    """Locks a file if nobody else has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@cache
def _contention() -> Contention:
    return Contention()


@cache
def _cores() -> int:
    return available_cores()


@cache
def _shared_turns() -> Turns:
    """Those of this user on the cores of this process; locks of /tmp are seen by one machine or container only."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(_cores())
    user = os.getuid() if hasattr(os, "getuid") else "me"
    return Turns(Path(tempfile.gettempdir()), f"segpipe-{user}-{sum(1 << core for core in cores):x}")
