"""Runs that are killed, and what goes on from them: real processes, real signals, one MLflow run for each training."""

import shlex
import signal
from pathlib import Path

import pytest
import yaml

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from tests.samples.small_models import skip_pages
from tests.support.leftovers import unfinished
from tests.support.processes import Process, as_main, segpipe
from tests.support.runs import saved_step, statuses, step_of
from tests.support.workers import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path, new_database) -> Path:
    """The folder that everything is called in, with an empty MLflow database."""
    new_database(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def words(tiny_words) -> list[str]:
    kept = [word for word in tiny_words if not word.startswith("trainer.max_steps")]
    return [*kept, "trainer.max_steps=4"]


def start(*words: str, home: Path) -> Process:
    return Process(as_main, "segpipe", list(words), skip_pages, cwd=home, log=home / "log")


def kill_at(pattern: str, *words: str, home: Path, number: int = signal.SIGKILL, code: int = -signal.SIGKILL) -> Path:
    """Sends a signal as soon as there is such a file; returns the file."""
    process = start(*words, home=home)
    try:
        file = process.wait_for(lambda: next(home.glob(pattern), None))
    finally:
        ended = process.end(number)
    assert ended == code, (home / "log").read_text()
    return file


def test_a_run_that_was_killed_while_it_prepared_is_resumed_and_no_other(words, tmp_path):
    home = tmp_path
    other, untracked = home / "runs" / "lung_nodule" / "other", [*words, "tracking=none"]
    (other / "model").mkdir(parents=True)
    (other / "model" / "segpipe.json").write_text("{}")
    (other / "config.yaml").write_text(yaml.safe_dump(plain(compose(untracked, registries))))
    before = (other / "config.yaml").read_text()
    killed = kill_at("runs/lung_nodule/2*/config.yaml", *untracked, "seed=7", home=home).parent
    text = segpipe(*untracked, "seed=7", "resume=true", cwd=home, before=skip_pages)
    assert f"resuming {killed}\n" in text
    assert (killed / "model" / "segpipe.json").is_file()
    assert (other / "config.yaml").read_text() == before
    assert len(list(home.glob("runs/*/*"))) == 2
    text = segpipe(*untracked, "resume=true", cwd=home, code=2)
    assert "other                is finished" in text
    assert f"{killed.name}  differs in seed" in text


def last_line(home: Path) -> str:
    return (home / "log").read_text().splitlines()[-1]


def words_of(line: str) -> list[str]:
    """The command that a stopped one ends with, without `python -m segpipe`."""
    return shlex.split(line.partition("to go on: python -m segpipe ")[2])


def test_a_training_that_is_stopped_saves_its_step_and_says_how_to_go_on(words, home):
    long = [word.replace("max_steps=4", "max_steps=100000") for word in words]
    file = kill_at("runs/*/*/metrics.jsonl", *long, home=home, number=signal.SIGTERM, code=143)
    run = file.parent
    last = saved_step(run)
    assert last == step_of(run)
    assert last_line(home).startswith("stopped by SIGTERM; to go on: python -m segpipe +experiment=lung_nodule ")
    assert words_of(last_line(home))[-2:] == [f"hydra.run.dir=runs/lung_nodule/{run.name}", "resume=true"]
    assert statuses(home) == {run.name: "KILLED"}
    assert unfinished(run) == []
    again = [word.replace("100000", str(last + 1)) for word in words_of(last_line(home))]
    assert "resuming from last.ckpt" in segpipe(*again, cwd=home, before=skip_pages)
    assert statuses(home) == {run.name: "FINISHED"}


def test_a_stopped_sweep_goes_on_with_the_job_that_it_was_in(words, home):
    file = kill_at("runs/*/*/1/metrics.jsonl", *words, "seed=0,1", "--multirun", home=home, number=signal.SIGINT,
                   code=130)  # fmt: skip
    sweep = file.parents[1]
    done = (sweep / "0" / "model" / "segpipe.json").stat().st_mtime_ns
    assert f"hydra.sweep.dir=runs/lung_nodule/{sweep.name} resume=true" in last_line(home)
    text = segpipe(*words, "seed=0,1", "--multirun", "resume=true", cwd=home, before=skip_pages)
    assert f"{sweep / '0'} is finished already" in text
    assert (sweep / "0" / "model" / "segpipe.json").stat().st_mtime_ns == done
    assert statuses(home) == dict.fromkeys(("0", "1", sweep.name), "FINISHED")


def test_a_killed_cross_validation_goes_on_with_its_folds(words, home):
    folds = [*words, "data.fold=all", "data.folds=2"]
    run = kill_at("runs/*/*/fold_1/metrics.jsonl", *folds, home=home).parents[1]
    text = segpipe(*folds, "resume=true", cwd=home, before=skip_pages)
    assert f"resuming {run}\n" in text
    assert list(home.glob("runs/*/*")) == [run]
    assert statuses(home) == dict.fromkeys((run.name, "fold_0", "fold_1"), "FINISHED")


def test_a_run_that_is_going_on_is_not_resumed_and_not_mixed_with_another(words, home):
    long = [*(word.replace("max_steps=4", "max_steps=100000") for word in words), "tracking=none"]
    first = start(*long, home=home)
    try:
        run = first.wait_for(lambda: next(home.glob("runs/*/*/metrics.jsonl"), None)).parent
        text = segpipe(*long, "resume=true", cwd=home, code=2)
    finally:
        assert first.end() == 143
    assert "another process is at work in this folder" in text
    assert f"folder  runs/lung_nodule/{run.name}" in text


def test_mlflow_is_asked_before_any_data_are_prepared(words, tmp_path):
    words = [*words, f"data.cache={tmp_path / 'cache'}", f"tracking.uri=http://127.0.0.1:{free_port()}"]
    assert "the MLflow server cannot be used" in segpipe(*words, cwd=tmp_path, code=2)
    assert not (tmp_path / "cache").exists()
