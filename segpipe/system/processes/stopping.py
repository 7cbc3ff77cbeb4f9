"""One way to stop: a signal ends whatever is going on as an error does, so that all is closed and removed.

What must not be cut in two waits for a place to stop at: see `stops_wait`. Only the command line asks for any of this;
in a program of the user's own signals do what that program says.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from multiprocessing import parent_process
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
"""Slurm sends the last two when a job's time is nearly up (`sbatch --signal`, and submitit)."""
_AGAIN_S = 1.0
"""A terminal, a queue and a launcher may all pass on the same signal; one that comes later than this is another."""


class Stopped(BaseException):
    """A signal asked this process to end. Not an `Exception`, so that nothing takes it for a fault of a case or a job.

    Args:
        number: The signal's.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.command: list[str] = []
        """The words after `python -m segpipe` that go on from here; empty where the same ones do."""

    @property
    def name(self) -> str:
        """E.g. SIGTERM."""
        return signal.Signals(self.number).name

    @property
    def exit_code(self) -> int:
        """What a shell calls a process that a signal has ended: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.number


class _Stop:
    """What has been asked of this process."""

    def __init__(self) -> None:
        self.owner = 0
        self.number: int | None = None
        self.asked_at = 0.0
        self.waiting = 0

    def handle(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self.owner:
            return  # a fork, e.g. a worker of a loader, which its parent ends
        again = self.number is not None and time.monotonic() > self.asked_at + _AGAIN_S
        first = self.number is None
        if first or again:
            self.number, self.asked_at = number, time.monotonic()
        if again or (first and not self.waiting):
            raise Stopped(number)
        if first:
            with suppress(OSError):  # neither log nor print, in the middle of which the signal may have come
                os.write(2, b"\nstopping after this step\n")


_stop = _Stop()


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block `SIGNALS` raise `Stopped` in the main thread; in a block within another nothing changes."""
    if threading.current_thread() is not threading.main_thread() or _stop.owner == os.getpid():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _stop.owner, _stop.number = os.getpid(), None
    catch_signals()
    try:
        yield
    finally:
        _stop.owner, _stop.number = 0, None
        for number, handler in before.items():
            signal.signal(number, handler)


def catch_signals() -> None:
    """Takes the signals back from a library that handles them itself, where `stoppable` has them."""
    if _stop.owner == os.getpid() and threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, _stop.handle)


@contextmanager
def stops_wait() -> Iterator[None]:
    """A signal in the block is answered by `check_stop` there or at its end; a later second one at once.

    Raises:
        Stopped: at the end of the block, whatever it ended by.
    """
    _stop.waiting += 1
    try:
        yield
    except (Exception, SystemExit) as error:
        if _stop.number is None:
            raise
        raise Stopped(_stop.number) from error
    finally:
        _stop.waiting -= 1
    check_stop()


@contextmanager
def closing(error: BaseException | None) -> Iterator[None]:
    """For a block that says how work has ended: a first signal waits for it.

    A job that fails is often ended by a signal, too, which must not keep it from saying so.

    Args:
        error: What ended the work; after `Stopped` a further signal is a second one, which does not wait.
    """
    with nullcontext() if isinstance(error, Stopped) else stops_wait():
        yield


def stop_asked() -> int:
    """The signal that has asked this process to stop; 0 for none."""
    return _stop.number or 0


def check_stop() -> None:
    """Raises what a signal has asked for and a library has swallowed, or a block has kept waiting.

    Raises:
        Stopped: if so.
    """
    if _stop.number is not None:
        raise Stopped(_stop.number)


def end_with_parent() -> None:
    """For a worker process: ends in order by SIGTERM, at once without its parent, and leaves other signals to it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    follow_parent()


def follow_parent() -> None:
    """For a process that `multiprocessing` has started: ends at once when the one that has started it is gone."""
    threading.Thread(target=_follow_parent, name="segpipe-parent", daemon=True).start()


def _leave(number: int, _: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is removed on the way out is removed whole
    sys.exit(128 + number)


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
