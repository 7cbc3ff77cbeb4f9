"""A folder of scans on a real Slurm, by the array of docs/cluster.md: a killed shard goes on, and no scan is lost."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

from segpipe.cli.merge import run as merge
from segpipe.errors import ConfigError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.system.shards.records import SHARDS
from tests.cluster.slurm import Slurm, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
SCRIPT = Path(__file__).parents[2] / "docs" / "cluster" / "predict.sbatch"
SHAPE, NAMES = (20, 20, 16), [f"scan{number}" for number in range(8)]


def test_a_killed_shard_is_requeued_and_the_whole_is_merged(slurm: Slurm, untrained_model, tmp_path):
    for number, name in enumerate(NAMES):
        image = np.random.default_rng(number).integers(-1000, 300, SHAPE).astype(np.int16)
        write_volume(tmp_path / "scans" / f"{name}.nii.gz", image, Grid(SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0])))
    out = tmp_path / "out"
    where = ["--array=1-2", "--cpus-per-task=1", "--mem=1G"]
    array = slurm.submit(*where, SCRIPT, untrained_model, tmp_path / "scans", out, cwd=tmp_path)
    first, second = f"{array}_1", f"{array}_2"
    wait_until((out / SHARDS / "2-of-2").exists, what="the second shard")
    os.kill(slurm.process_of(slurm.state(second)["JobId"], rank=0), signal.SIGKILL)
    assert slurm.wait(second) == "FAILED"
    assert slurm.wait(first) == "COMPLETED"
    with pytest.raises(ConfigError, match="all shards must be done"):
        merge([str(out)])
    slurm.call("scontrol", "requeue", second)
    assert slurm.wait(second) == "COMPLETED"
    assert merge([str(out)]) == 0
    assert {file.name for file in out.glob("*.nii.gz")} == {f"{name}.nii.gz" for name in NAMES}
