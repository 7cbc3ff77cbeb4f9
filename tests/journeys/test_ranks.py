"""A training of several processes gives what one process gives, ends as one, and goes on as one."""

import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.training.callbacks import read_history
from segpipe.training.checkpoints.files import read_checkpoint
from tests.samples.small_models import skip_onnx_export, skip_pages
from tests.support.processes import Process, as_main, segpipe
from tests.support.ranks import Ranks, run_ranks
from tests.support.runs import saved_step, statuses, step_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def words(tiny_words) -> list[str]:
    """Without dropout, whose masks depend on the process; clipped and accumulated."""
    changes = {
        "network.dropout": "0.0", "training.clip_norm": "0.5", "training.accumulate": "2", "trainer.max_steps": "7",
        "training.validation_patches": "6", "trainer.precision": "32-true", "evaluation.overlays": "0",
        "evaluation.weights": "best", "tracking": "none",
    }  # fmt: skip
    kept = [word for word in tiny_words if word.partition("=")[0] not in changes]
    return [*kept, *(f"{name}={value}" for name, value in changes.items())]


@pytest.fixture(scope="module")
def alone(words, tmp_path_factory) -> Path:
    """One process, batches of four."""
    home = tmp_path_factory.mktemp("alone")
    segpipe(*words, "training.batch_size=4", "hydra.run.dir=run", cwd=home, before=skip_pages)
    return home / "run"


def train_together(words: list[str], home: Path, *, nodes: int = 2, before: Callable[[], None] = skip_pages) -> str:
    """Two processes as torchrun starts them on one machine or two; returns what they wrote."""
    given = [*words, "trainer.devices=auto", f"trainer.nodes={nodes}"]
    started = {"nodes": nodes, "processes": 2 // nodes}
    return run_ranks(as_main, "segpipe", given, before, cwd=home, log=home / "logs", **started)


@pytest.fixture(scope="module")
def together(words, tmp_path_factory) -> Path:
    """Two processes, batches of two."""
    home = tmp_path_factory.mktemp("together")
    assert train_together(words, home, before=skip_onnx_export).count("2 processes on 2 machines by ddp") == 1
    (run,) = (home / "runs" / "lung_nodule").iterdir()
    return run


def curve(run: Path, name: str) -> list[float]:
    return [point[name] for point in read_history(run) if name in point]


@pytest.mark.parametrize("name", ["train/loss", "train/grad_norm", "train/lr", "val/loss", "val/pseudo_dice"])
def test_two_processes_with_half_the_batch_learn_as_one_does(alone, together, name):
    expected = curve(alone, name)
    assert len(expected) == (1 if name.startswith("val/") else 7)
    assert curve(together, name) == pytest.approx(expected, rel=2e-5)


def test_two_processes_share_the_cases_and_find_what_one_does(alone, words, tmp_path):
    """They go on with the run of one, of which nothing but the evaluation is left to do."""
    run = shutil.copytree(alone, tmp_path / "run")
    shutil.rmtree(run / "evaluation")
    train_together([*words, "training.batch_size=4", f"hydra.run.dir={run}", "resume=true"], tmp_path)
    for name in ("cases.csv", "lesions.csv", "summary.json"):
        assert (run / "evaluation" / name).read_text() == (alone / "evaluation" / name).read_text()
    assert len(list((run / "evaluation" / "masks").iterdir())) == 2
    assert curve(run, "train/loss") == curve(alone, "train/loss")


def test_processes_that_share_out_the_weights_learn_as_one_does_and_go_on(alone, words, tmp_path):
    run = tmp_path / "run"
    sharded = [*words, "trainer.strategy=fsdp", "training.ema=null", f"hydra.run.dir={run}"]
    assert "2 processes on 1 machine by fsdp" in train_together(sharded, tmp_path, nodes=1)
    for name in ("train/loss", "train/grad_norm"):
        assert curve(run, name) == pytest.approx(curve(alone, name), rel=2e-5)
    model = read_model_folder(run / "model")
    weights = read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    exported = load_network(model, model.network).state_dict()
    assert {f"network.{name}": value.shape for name, value in exported.items()} == {
        name: value.shape for name, value in weights.items()
    }
    train_together([*sharded, "trainer.max_steps=8", "resume=true"], tmp_path, nodes=1)
    assert len(curve(run, "train/loss")) == saved_step(run) == 8
    (optimizer,) = read_checkpoint(run / "checkpoints" / "last.ckpt")["optimizer_states"]
    assert {float(state["step"]) for state in optimizer["state"].values()} == {8.0}  # it went on from its state


def begun(home: Path) -> Path | None:
    """The curves of the one run, once it has any."""
    return next(home.glob("runs/*/*/metrics.jsonl"), None)


def start(words: list[str], home: Path, name: str) -> Ranks:
    return Ranks(as_main, "segpipe", words, skip_pages, cwd=home, log=home / name)


def test_processes_end_together_and_go_on_together(words, tmp_path):
    """A signal to one stops all after the same step; of one that is killed the others do not wait for ever."""
    several = [*words, "trainer.devices=2"]
    long = [word.replace("max_steps=7", "max_steps=100000") for word in several]
    stopped = start(long, tmp_path, "stopped")
    run = stopped.wait_for(partial(begun, tmp_path)).parent
    stopped.processes[1].end(signal.SIGTERM)
    assert stopped.wait() == [143, 143], stopped.text()
    assert "to go on: python -m segpipe" in stopped.text()
    saved = saved_step(run)
    assert saved == step_of(run)
    killed = start([*long, "resume=true"], tmp_path, "killed")
    killed.wait_for(lambda: saved_step(run) > saved)
    killed.processes[1].end(signal.SIGKILL)
    codes = killed.wait()
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, -signal.SIGKILL), killed.text()
    final = saved_step(run) + 1
    again = start([*several, f"trainer.max_steps={final}", "resume=true"], tmp_path, "again")
    assert again.wait() == [0, 0], again.text()
    assert saved_step(run) == final
    assert (run / "model" / "segpipe.json").is_file()
    assert list(run.parent.iterdir()) == [run]


def test_in_a_sweep_each_job_has_processes_of_its_own_and_fails_alone(words, new_database, tmp_path):
    """The first one's second process is killed, which MLflow is told; a launcher of several processes is not needed."""
    new_database(tmp_path)
    kept = [word for word in words if not word.startswith(("tracking=", "trainer="))]
    several = [*kept, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.workers=0"]
    sweep = [*several, "trainer.progress=false", "trainer.max_steps=100000,2", "hydra.sweep.dir=sweep", "--multirun"]
    main = Process(as_main, "segpipe", sweep, skip_pages, cwd=tmp_path, log=tmp_path / "log")
    first, second = tmp_path / "sweep" / "0", tmp_path / "sweep" / "1"
    main.wait_for((first / "metrics.jsonl").exists)
    (other,) = psutil.Process(main.pid).children()
    other.kill()
    assert main.wait() == 2, (tmp_path / "log").read_text()
    text = (tmp_path / "log").read_text()
    assert "a process that trained with this one has ended early\n  process 1  signal 9\n" in text
    assert f"1 of 2 jobs failed:\n  job 0  exit code 2  {first}" in text
    assert text.count("2 processes on 1 machine by ddp") == 2
    assert statuses(tmp_path) == {"sweep": "FINISHED", "0": "FAILED", "1": "FINISHED"}
    assert saved_step(second) == 2
