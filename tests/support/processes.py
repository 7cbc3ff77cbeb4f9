"""Commands in processes of their own that start at once: forked from a process that has imported the libraries."""

import atexit
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE_S = 900  # on a busy machine a process may take minutes


class Process:
    """A process with a folder, an environment and a log of its own.

    Args:
        work: What it does: a function of a module and its arguments.
        cwd: The folder that it runs in.
        log: The file that what it writes to both streams is appended to.
        environment: What differs from the environment of the tests.
    """

    def __init__(self, *work: object, cwd: Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["tests.support.preloaded"])
        self.log = log
        given = (cwd, log, {**os.environ, **(environment or {})}, *work)
        self._process = context.Process(target=_begin, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float = PATIENCE_S) -> int:
        """Waits until it has ended; returns its exit code."""
        self._process.join(seconds)
        assert self.returncode is not None, f"the process has not ended within {seconds} s"
        return self.returncode

    def wait_for(self, happened: Callable[[], Found]) -> Found:
        """Waits for something that happens before it has ended; returns the first thing found that is true."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self.returncode is None:
            if found := happened():
                return found
            time.sleep(0.005)
        state = "goes on" if self.returncode is None else f"has ended with {self.returncode}"
        raise AssertionError(f"the process {state} without it:\n{self.log.read_text()[-6000:]}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends it a signal unless it has ended; returns its exit code."""
        if self.returncode is None:
            os.kill(self.pid, number)
        return self.wait()


def segpipe(*words: object, cwd: Path, code: int = 0, before: Callable[[], object] | None = None) -> str:
    """Runs `python -m segpipe` in a folder; returns what it wrote to both streams after comparing its exit code."""
    return run_module("segpipe", *words, cwd=cwd, code=code, before=before)


def run_module(
    module: str, *words: object, cwd: Path, code: int = 0, before: Callable[[], object] | None = None
) -> str:
    """Runs `python -m MODULE`, for `segpipe` see there; `before` is called first in the new process."""
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = Process(as_main, module, [str(word) for word in words], before, cwd=cwd, log=log)
        try:
            found = process.wait()
        finally:
            process.end(signal.SIGKILL)
        text = log.read_text()
    assert found == code, text[-6000:]
    return text


def as_main(module: str, words: list[str], before: Callable[[], object] | None = None) -> None:
    """What `python -m MODULE WORDS…` does."""
    if before is not None:
        before()
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _begin(cwd: Path, log: Path, environment: Mapping[str, str], work: Callable[..., object], *given: object) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    try:
        work(*given)
    finally:  # what the end of a program does, and the end of a fork does not
        threading._shutdown()
        atexit._run_exitfuncs()
