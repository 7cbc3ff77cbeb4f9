"""A whole search as a user starts it: killed, gone on with, and what it leaves to be read and to be trained."""

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from segpipe.config.sweeps.trials import read_study
from segpipe.system.files.csv_table import read_csv
from segpipe.training.callbacks import read_history
from tests.samples.small_models import skip_pages
from tests.support.processes import Process, as_main, segpipe

pytestmark = pytest.mark.slow
BROKEN = "{_target_:tests.support.diverging.Diverges}"
TRIALS = 4


@pytest.fixture(scope="module")
def home(tmp_path_factory, new_database) -> Path:
    """The folder that everything is called in, with an empty MLflow database."""
    folder = tmp_path_factory.mktemp("search")
    new_database(folder)
    return folder


@pytest.fixture(scope="module")
def words(home, tiny_words) -> list[str]:
    own = ["data.fractions=[0.6,0.2,0.2]", "trainer.max_steps=4", "training.validate_every=2"]
    own += ["hydra/sweeper=optuna", f"hydra.sweeper.trials={TRIALS}", "--multirun", f"hydra.sweep.dir={home / 'sweep'}"]
    space = [
        "optimizer.lr=tag(log,interval(1e-4,1e-2))",
        "loss=choice(dice,dice_ce)",
        f"callbacks=choice([],[{BROKEN}])",
    ]
    return [*tiny_words, *own, *space]


@pytest.fixture(scope="module")
def begun(home, words) -> list[Mapping[str, object]]:
    """What a search had chosen when it was killed, in its second trial; it was then gone on with to its end."""
    process = Process(as_main, "segpipe", words, skip_pages, cwd=home, log=home / "log")
    try:
        process.wait_for(lambda: (home / "sweep" / "1" / "config.yaml").exists())
    finally:
        process.end(signal.SIGKILL)
    known = [trial.params for trial in read_study(home / "sweep").trials]
    segpipe(*words, "resume=true", cwd=home, before=skip_pages, code=2)
    return known


@pytest.fixture(scope="module")
def lines(home, begun) -> list[Mapping[str, str]]:
    """The table of the search."""
    return read_csv(home / "sweep" / "search.csv")[1]


def test_a_killed_search_goes_on_with_the_trial_that_was_cut_off(home, begun, lines):
    trials = read_study(home / "sweep").trials
    assert [trial.params for trial in trials[:2]] == begun
    assert [line["trial"] for line in lines] == [str(number) for number in range(TRIALS)]
    for trial in trials:
        steps = [point["step"] for point in read_history(home / "sweep" / str(trial.number)) if "train/loss" in point]
        assert steps == ([] if "Diverges" in trial.params["callbacks"] else [1, 2, 3, 4])


def test_a_trial_that_diverges_has_failed_and_the_others_have_the_figure_of_their_last_validation(home, lines):
    states = {line["state"] for line in lines if "Diverges" in line["callbacks"]}
    assert states == {"fail"}
    trained = [line for line in lines if line["state"] == "complete"]
    assert trained
    for line in trained:
        history = read_history(home / "sweep" / line["trial"])
        last = [point["val/pseudo_dice"] for point in history if "val/pseudo_dice" in point][-1]
        assert float(line["figure"]) == pytest.approx(last)
        assert line["steps"] == "4"


def test_held_out_cases_are_not_looked_at(home, lines):
    assert lines
    assert not list((home / "sweep").glob("*/evaluation"))
    assert not list((home / "sweep").glob("*/model"))


def test_the_figures_are_drawn(home, lines):
    assert lines
    assert (home / "sweep" / "history.png").read_bytes().startswith(b"\x89PNG")
    assert (home / "sweep" / "parallel.png").read_bytes().startswith(b"\x89PNG")


def test_mlflow_has_one_parent_with_the_figures_and_a_run_for_each_trial(home, lines):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lung_nodule")
    runs = client.search_runs([experiment.experiment_id])
    parent = next(run for run in runs if run.data.tags.get("kind") == "sweep")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == TRIALS
    best = max(float(line["figure"]) for line in lines if line["state"] == "complete")
    assert parent.data.metrics["search/best"] == pytest.approx(best)
    names = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"search.csv", "history.png", "best.yaml"} <= names


def test_the_best_trial_is_an_experiment(home, lines):
    best = max((line for line in lines if line["state"] == "complete"), key=lambda line: float(line["figure"]))
    text = (home / "sweep" / "experiment" / "best.yaml").read_text()
    headline = text.splitlines()[1]
    assert headline.startswith(
        f"# Trial {best['trial']}, the best of {TRIALS} by val/pseudo_dice of validation patches: "
    )
    words = ["--config-dir", "sweep", "+experiment=best", "--cfg", "job"]
    shown = segpipe(*words, "-p", "optimizer.lr", cwd=home)
    assert float(shown.strip().splitlines()[-1]) == float(best["optimizer.lr"])


def test_a_split_without_validation_cases_is_refused(home, words):
    own = [word for word in words if not word.startswith("hydra.")]
    text = segpipe(
        *own, "data.fold=0", "hydra.sweep.dir=fold", "hydra.sweeper.trials=1", "tracking=none", cwd=home, code=2
    )
    assert "a search chooses by validation cases, and there are none" in text
    assert "data.fold=null 'data.fractions=[0.6,0.2,0.2]'" in text
