"""How the processes of one test run share a machine: cores, ports, and what is made once for all of them."""

import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

NUMBER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
COUNT = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
PORTS = range(20_000, 32_000)  # below those that the system gives to outgoing connections
_given: set[int] = set()


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_port() -> int:
    """A port on which nobody listens, given once only, and to no other process of this test run."""
    while True:
        port = random.randrange(PORTS.start + NUMBER, PORTS.stop, COUNT)
        with socket.socket() as probe:
            if port not in _given and probe.connect_ex(("127.0.0.1", port)) != 0:
                _given.add(port)
                return port


def make_once(base: Path, name: str, make: Callable[[Path], object]) -> Path:
    """A file or folder that the first process to need it makes and all others find.

    Args:
        base: The process's own folder for temporary files (`tmp_path_factory.getbasetemp()`).
        name: The name of the file or folder.
        make: Is given the path and writes there.
    """
    shared = shared_folder(base)
    target, done = shared / name, shared / f"{name}.done"
    with FileLock(shared / f"{name}.made_once"):  # what makes a database locks `NAME.lock` itself
        if not done.exists():
            make(target)
            done.touch()
    return target


def shared_folder(base: Path) -> Path:
    """The folder for temporary files that all processes of this test run see."""
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder
