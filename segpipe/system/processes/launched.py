"""What torchrun or srun says of the processes that it has started together, read from their environment."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist

from segpipe.errors import ConfigError
from segpipe.system.processes.forced_end import end_by_force

Item = TypeVar("Item")
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
_PATIENCE = timedelta(minutes=30)
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Launch:
    """One start of several processes.

    Args:
        by: What started them.
        processes: On each machine.
        nodes: Machines.
    """

    by: str
    processes: int
    nodes: int


def launch() -> Launch | None:
    """How torchrun or srun started this process together with others; None where neither did."""
    if started_by_torchrun():
        return Launch("torchrun", int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["GROUP_WORLD_SIZE"]))
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks < 2:
        return None
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    return Launch("srun", tasks // nodes, nodes)


def started_by_torchrun() -> bool:
    """Whether torchrun started this process, alone or with others."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def this_rank() -> int:
    """This process's number among those that train together, 0 when it is alone, from the launcher's environment."""
    return next((int(os.environ[name]) for name in _RANKS if name in os.environ), 0)


def step_name() -> str | None:
    """What srun calls this start of several processes, the same in each of them; None without it."""
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) < 2:
        return None
    return f"job_{os.environ['SLURM_JOB_ID']}_{os.environ['SLURM_STEP_ID']}"


def own_first(items: Sequence[Item]) -> list[Item]:
    """The items, first this process's share of those that a launcher has started, then those of the next ones."""
    launched = launch()
    count = launched.processes * launched.nodes if launched else 1
    return [item for turn in range(count) for item in items[(this_rank() + turn) % count :: count]]


def follow_launcher() -> None:
    """Ends this process soon after the one that has started it with others, even while it waits for one of them."""
    if launch() or this_rank():
        threading.Thread(target=_follow, args=[os.getppid()], name="segpipe-launcher", daemon=True).start()


def agree_on_folder(choose: Callable[[], Path] | None) -> Path:
    """The folder that the first process of a torchrun chooses, for all of them.

    Args:
        choose: Of the first process; None in the others, which wait for its choice.

    Raises:
        ConfigError: in the others when the first process could not choose; in all when they cannot meet.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "False":
        raise ConfigError(
            "this torchrun keeps no store in which its processes could agree on the folder of the run",
            hint="name it: hydra.run.dir=FOLDER; or leave out TORCH_DISABLE_SHARE_RDZV_TCP_STORE",
        )
    # after a restart of the processes it is the same store
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=_PATIENCE)  # type: ignore[attr-defined]
    key = f"folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if choose is None:
        folder = store.get(key).decode()
        if not folder:
            raise ConfigError("the first process could not choose the folder of the run; it says why")
        return Path(folder)
    chosen = ""
    try:
        chosen = str(choose())
    finally:
        store.set(key, chosen)
    return Path(chosen)


def _follow(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(_LOOK_EVERY_S)
    end_by_force()
