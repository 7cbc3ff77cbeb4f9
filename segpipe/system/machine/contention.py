"""Contended cores: whoever waits for a thread that has lost its core gives up its own, so that the other gets on.

A thread that spins at a barrier may hold the very core that the last thread needs to arrive there: next to seven busy
processes on two cores, a prediction took ten times as long as with threads that sleep at once. On idle cores it is the
other way round, since a core that has gone to sleep takes long to wake.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OWN = Path("/proc/thread-self/schedstat")
_WATCHED_S = 0.1
_SHARE = 0.2
"""Alone, or next to others that take turns, a thread waits for its core less than 3 % of its time; else 35 to 70 %."""
_SLEEPY_S = 2.0
_PARALLEL = 1 << 17
"""Numbers that are too many for one thread of PyTorch."""


class Contention:
    """Finds out whether cores are contended, and lets threads sleep at once for a while when they are."""

    def __init__(self) -> None:
        self._watched_s = self._waited_s = 0.0
        self._sleepy = threading.Thread()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Watches a block that computes."""
        if self._sleepy.is_alive():
            yield
            return
        start, waited_s = time.perf_counter(), _waited_s()
        yield
        self._add(time.perf_counter() - start, _waited_s() - waited_s)

    def _add(self, seconds: float, waited_s: float) -> None:
        self._watched_s += seconds
        self._waited_s += waited_s
        if self._watched_s < _WATCHED_S:
            return
        if self._waited_s > _SHARE * self._watched_s:
            # no daemon: Python ends those in the middle of a call, which PyTorch answers by aborting the process
            self._sleepy = threading.Thread(target=_sleep_at_once)
            self._sleepy.start()
        self._watched_s = self._waited_s = 0.0


def _sleep_at_once() -> None:
    """Has a second pool of threads for a while, or until the process ends.

    With more threads than cores GNU OpenMP spins for microseconds only.

    Source: the manual of GNU libgomp, `GOMP_SPINCOUNT`; there is no other way to change it once it has been loaded.
    """
    import torch

    torch.zeros(_PARALLEL).add_(1)
    threading.main_thread().join(_SLEEPY_S)


def _waited_s() -> float:
    """How long this thread has waited for a core while it could have computed; 0 where the system does not say.

    Source: Linux, Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`.
    """
    try:
        return int(_OWN.read_text().split()[1]) * 1e-9
    except OSError:
        return 0.0
