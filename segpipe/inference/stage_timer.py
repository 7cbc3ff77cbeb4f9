"""Who looks on while scans are predicted: seconds per stage, and how far a scan is."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Adds up the seconds of each stage, over all threads; a subclass may show how far a scan is."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time inside the block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def advance(self, done: int, total: int) -> None:
        """Called after each slice of a scan: how many of how many are done."""

    def describe(self) -> str:
        """The stages with their seconds, in the order in which they began, e.g. `reading 1.2 s, network 30.4 s`."""
        return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
