"""The files of docs/cluster do what they say: their own words, run as a scheduler would."""

import shlex
from pathlib import Path

import pytest
import yaml

from segpipe.__main__ import main
from segpipe.cli.predict.flags import parse_flags
from segpipe.system.shards.shard import Shard

FOLDER = Path(__file__).parents[3] / "docs" / "cluster"


def container(name):
    (found,) = yaml.safe_load((FOLDER / name).read_text())["spec"]["template"]["spec"]["containers"]
    return found


def test_the_slurm_script_takes_its_shard_from_the_array(monkeypatch):
    *_, line = (FOLDER / "predict.sbatch").read_text().strip().splitlines()
    words = shlex.split(line)
    assert words[:5] == ["srun", "python", "-m", "segpipe", "predict"]
    task = {"ID": "2", "MIN": "1", "MAX": "16", "COUNT": "16"}
    for name, value in task.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", value)
    given = parse_flags(words[5:])
    assert (str(given.model), str(given.input), str(given.output)) == ("$1", "$2", "$3")
    assert given.shard == Shard(2, 16)


def test_the_job_has_as_many_shards_as_completions_and_mounts_what_it_names(monkeypatch):
    spec = yaml.safe_load((FOLDER / "predict-job.yaml").read_text())["spec"]
    args = container("predict-job.yaml")["args"]
    assert spec["completionMode"] == "Indexed"
    for index in range(spec["completions"]):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert parse_flags(args[1:]).shard == Shard(index + 1, spec["completions"])
    for name in ("predict-job.yaml", "merge-job.yaml"):
        mounted = {mount["mountPath"] for mount in container(name)["volumeMounts"]}
        assert {word for word in container(name)["args"] if word.startswith("/")} == mounted
        assert ":" in container(name)["image"].rpartition("/")[2]


@pytest.mark.slow
def test_the_commands_of_the_jobs_predict_and_merge(tmp_path, monkeypatch, without_onnx):
    import numpy as np

    from segpipe.geometry import Grid
    from segpipe.io.images.volumes import write_volume
    from tests.samples.small_models import UNET, write_small

    write_small(tmp_path / "model", UNET)
    for number in range(3):
        image = np.random.default_rng(number).integers(-1000, 300, (20, 20, 16)).astype(np.int16)
        write_volume(
            tmp_path / "scans" / f"s{number}.nii.gz", image, Grid(image.shape, np.diag([-1.0, -1.0, 2.0, 1.0]))
        )

    def run(name, *more):
        words = [f"{tmp_path}{word}" if word.startswith("/") else word for word in container(name)["args"]]
        return main([*words, *more])

    for index in range(16):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert run("predict-job.yaml", "--search", "everywhere", "--min-volume", "100") == 0
    assert run("merge-job.yaml") == 0
    assert len(list((tmp_path / "output").glob("*.nii.gz"))) == 3
    assert (tmp_path / "output" / "findings.csv").is_file()
