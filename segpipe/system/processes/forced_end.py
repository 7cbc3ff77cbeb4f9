"""The end of a process that cannot go on nor be asked to stop: what must be said before is said in a few seconds."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_PATIENCE_S = 10.0
_last_words: list[Callable[[], object]] = []


@contextmanager
def before_forced_end(work: Callable[[], object]) -> Iterator[None]:
    """If this process is ended by force in the block, `work` is called first, in another thread."""
    _last_words.append(work)
    try:
        yield
    finally:
        _last_words.remove(work)


def end_by_force() -> NoReturn:
    """Ends this process with exit code 1, from any thread, whatever the main thread waits for."""
    for work in reversed(_last_words):
        words = threading.Thread(target=work, daemon=True)
        words.start()
        words.join(_PATIENCE_S)
    os._exit(1)
