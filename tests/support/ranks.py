"""Processes that train together: as torchrun starts them, but forked from one that has imported the libraries."""

import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from segpipe.system.machine.threads import ONE_THREAD
from tests.support.processes import PATIENCE_S, Found, Process

STORE_TIMEOUT = timedelta(seconds=PATIENCE_S)


class Ranks:
    """A torchrun of one function: its processes meet in a store that the tests keep open.

    Args:
        work: A function of a module and its arguments, called in each process.
        cwd: The folder that they run in.
        log: The folder that gets a log of each process.
        nodes: Machines, which all are this one.
        processes: On each of them.
    """

    def __init__(self, *work: object, cwd: Path, log: Path, nodes: int = 1, processes: int = 2) -> None:
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=STORE_TIMEOUT)
        world, shared = nodes * processes, {
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self._store.port, "WORLD_SIZE": nodes * processes,
            "LOCAL_WORLD_SIZE": processes, "GROUP_WORLD_SIZE": nodes, "TORCHELASTIC_RUN_ID": "none",
            "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_USE_AGENT_STORE": "True", **ONE_THREAD,
        }  # fmt: skip
        log.mkdir(parents=True, exist_ok=True)
        self.logs = [log / f"rank_{rank}.log" for rank in range(world)]
        self.processes = []
        for rank, file in enumerate(self.logs):
            own = {"RANK": rank, "LOCAL_RANK": rank % processes, "GROUP_RANK": rank // processes}
            environment = {name: str(value) for name, value in {**shared, **own}.items()}
            self.processes.append(Process(*work, cwd=cwd, log=file, environment=environment))

    def wait(self) -> list[int]:
        """Waits for all of them; returns their exit codes."""
        try:
            return [process.wait() for process in self.processes]
        finally:
            for process in self.processes:
                process.end(signal.SIGKILL)

    def wait_for(self, happened: Callable[[], Found]) -> Found:
        """Waits for something that happens while all of them run; returns the first thing found that is true."""

        def found() -> Found:
            if any(process.returncode is not None for process in self.processes):
                raise AssertionError(f"one of the processes has ended without it:\n{self.text()[-8000:]}")
            return happened()

        return self.processes[0].wait_for(found)

    def text(self) -> str:
        """What all of them wrote."""
        return "\n".join(log.read_text() for log in self.logs)


def run_ranks(*work: object, cwd: Path, log: Path, **started: int) -> str:
    """Runs a function in processes that train together; returns what they wrote."""
    ranks = Ranks(*work, cwd=cwd, log=log, **started)
    codes = ranks.wait()
    assert set(codes) == {0}, ranks.text()[-8000:]
    return ranks.text()
