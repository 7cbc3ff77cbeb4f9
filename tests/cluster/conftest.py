"""What the tests on a cluster share: a Slurm of their own."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from segpipe.system.machine.threads import ONE_THREAD
from tests.cluster.slurm import PROGRAMS, Slurm, running_slurm


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """Two nodes with two cores each, and accounts; skips where Slurm is not installed."""
    programs = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in PROGRAMS}
    missing = [name for name, program in programs.items() if program is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge slurmdbd mariadb-server)")
    if os.geteuid():
        pytest.skip("only the superuser starts a Slurm of its own")
    with pytest.MonkeyPatch.context() as patch, ExitStack() as daemons:
        try:
            started = daemons.enter_context(running_slurm())
        except AssertionError as error:
            pytest.skip(f"Slurm does not start on this machine: {error}")
        given = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "MASTER_ADDR": "127.0.0.1",  # the nodes' names are known to this Slurm alone
            **ONE_THREAD,
            "SLURM_CONF": started.environment["SLURM_CONF"],
        }
        for name, value in given.items():
            patch.setenv(name, value)
        started.environment.update(given)
        yield started
