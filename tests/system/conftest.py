"""An environment without a launcher, and one that torchrun has made."""

import os
from collections.abc import Callable

import pytest


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch) -> None:
    """Nothing that torchrun, srun or Lightning says of its processes, whatever the tests were started by."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_")) or name in ("RANK", "LOCAL_RANK", "JSM_NAMESPACE_RANK"):
            monkeypatch.delenv(name)


@pytest.fixture
def torchrun(monkeypatch) -> Callable[..., None]:
    """Sets what one process of a torchrun finds in its environment."""

    def start(*, rank: int, processes: int, nodes: int) -> None:
        values = {"RANK": rank, "LOCAL_RANK": rank % processes, "LOCAL_WORLD_SIZE": processes}
        more = {"GROUP_WORLD_SIZE": nodes, "WORLD_SIZE": processes * nodes, "TORCHELASTIC_RUN_ID": "none"}
        for name, value in {**values, **more}.items():
            monkeypatch.setenv(name, str(value))

    return start
