"""Runs that are killed, and what goes on from them: real processes, real signals, one MLflow run for each training."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from tests.processes import PATIENCE_S, Process, as_main, segpipe
from tests.small_models import skip_onnx_export

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path, new_database) -> Path:
    """The folder that everything is called in, with an empty MLflow database."""
    new_database(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def words(tiny_words) -> list[str]:
    kept = [word for word in tiny_words if not word.startswith("trainer.max_steps")]
    return [*kept, "trainer.max_steps=4", "evaluation.overlays=0"]


def start(*words: str, home: Path) -> Process:
    return Process(as_main, "segpipe", list(words), skip_onnx_export, cwd=home, log=home / "log")


def wait_for(file: Callable[[], Path | None], process: Process) -> Path:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.returncode is None:
        if found := file():
            return found
        time.sleep(0.005)
    raise AssertionError("the process has ended without it")


def kill_at(pattern: str, *words: str, home: Path, number: int = signal.SIGKILL) -> Path:
    """Sends a signal as soon as there is such a file; returns the file."""
    process = start(*words, home=home)
    try:
        file = wait_for(lambda: next(home.glob(pattern), None), process)
    finally:
        process.end(number)
    return file


def statuses(home: Path) -> dict[str, str]:
    """The status of each MLflow run by its name."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert len({run.info.run_name for run in runs}) == len(runs)
    return {run.info.run_name: run.info.status for run in runs}


def test_a_run_that_was_killed_while_it_prepared_is_resumed_and_no_other(words, tmp_path):
    home = tmp_path
    other, untracked = home / "runs" / "lung_nodule" / "other", [*words, "tracking=none"]
    (other / "model").mkdir(parents=True)
    (other / "model" / "segpipe.json").write_text("{}")
    (other / "config.yaml").write_text(yaml.safe_dump(plain(compose(untracked, registries))))
    before = (other / "config.yaml").read_text()
    killed = kill_at("runs/lung_nodule/2*/config.yaml", *untracked, "seed=7", home=home).parent
    text = segpipe(*untracked, "seed=7", "resume=true", cwd=home, before=skip_onnx_export)
    assert f"resuming {killed}\n" in text
    assert (killed / "model" / "segpipe.json").is_file()
    assert (other / "config.yaml").read_text() == before
    assert len(list(home.glob("runs/*/*"))) == 2
    text = segpipe(*untracked, "resume=true", cwd=home, code=2)
    assert "other                is finished" in text
    assert f"{killed.name}  differs in seed" in text
