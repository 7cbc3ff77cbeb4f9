"""A whole study as a user starts it: killed, gone on with, and what it leaves to be read."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from segpipe.pipelines.studies.outcomes import curve
from segpipe.system.files.csv_table import read_csv
from segpipe.training.callbacks import read_history
from tests.support.processes import Process, as_main, segpipe

pytestmark = pytest.mark.slow
STUDY = """
defaults:
  - /optimizer@candidates.adamw.optimizer: adamw
  - /optimizer@candidates.momentum.optimizer: momentum
  - /optimizer@candidates.broken.optimizer: sgd
  - /optimizer@candidates.faulty.optimizer: sgd
  - _self_
candidates:
  broken: {callbacks: [{_target_: tests.support.diverging.Diverges}]}
  faulty: {callbacks: [{_target_: tests.support.diverging.Fails}]}
rates: 2
spacing: 10.0
seeds: [0, 1]
pruning: {after: 0.5, margin: 0.9}
variants: {}
reference: adamw
"""
SEARCHED = {
    "adamw_lr0.001_seed0", "adamw_lr0.01_seed0", "momentum_lr0.01_seed0", "momentum_lr0.1_seed0",
    "broken_lr0.05_seed0", "broken_lr0.5_seed0",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory, new_database) -> Path:
    """The folder that everything is called in, with an empty MLflow database and a study of its own."""
    folder = tmp_path_factory.mktemp("study")
    new_database(folder)
    (folder / "conf" / "study").mkdir(parents=True)
    (folder / "conf" / "study" / "small.yaml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def words(home, tiny_words) -> list[str]:
    own = ["data.fractions=[0.6,0.2,0.2]", "trainer.max_steps=4", "training.validate_every=2"]
    own += ["evaluation.tune_operating_point=false", "callbacks=[{_target_: tests.samples.small_models.SkipPages}]"]
    return [*tiny_words, *own, "+study=small", "--config-dir", str(home / "conf"), f"hydra.run.dir={home / 'run'}"]


@pytest.fixture(scope="module")
def kept(home, words) -> dict[Path, bytes]:
    """The outcomes that a study had when it was killed, after two rows; it went on side by side with more seeds.

    What it then said lies in the file `said`.
    """
    process = Process(as_main, "segpipe", [*words, "study.seeds=[0]"], cwd=home, log=home / "log")
    try:
        process.wait_for(lambda: len(outcomes(home)) == 2)
    finally:
        process.end(signal.SIGKILL)
    known = {file: file.read_bytes() for file in outcomes(home)}
    times = {file: file.stat().st_mtime_ns for file in known}
    text = segpipe(*words, "resume=true", "+study.parallel=2", cwd=home, code=2)
    (home / "said").write_text(text)
    assert {file: file.stat().st_mtime_ns for file in known} == times
    return known


@pytest.fixture(scope="module")
def lines(home, kept) -> Mapping[str, Mapping[str, str]]:
    """The table of the study by row."""
    return {line["row"]: line for line in read_csv(home / "run" / "study.csv")[1]}


def outcomes(home: Path) -> list[Path]:
    return sorted((home / "run").glob("*/row.json"))


def test_a_killed_study_repeats_no_row(home, kept, lines):
    assert len(kept) in (2, 3)
    assert set(lines) >= SEARCHED
    assert {file.parent.name for file in kept} <= SEARCHED
    for file in outcomes(home):
        losses = [point["step"] for point in read_history(file.parent) if "train/loss" in point]
        assert losses == ([] if file.parent.name.startswith("broken") else [1, 2, 3, 4])


def test_each_candidate_has_its_best_rate_by_validation_and_every_seed_of_it_is_evaluated(lines):
    for name in ("adamw", "momentum"):
        searched = [line for line in lines.values() if line["candidate"] == name and line["seed"] == "0"]
        best = max(searched, key=lambda line: float(line["pseudo_dice"]))
        evaluated = {line["row"] for line in lines.values() if line["candidate"] == name and line["dice"]}
        assert len(searched) == 2
        assert evaluated == {best["row"], best["row"].replace("seed0", "seed1")}
    assert len(lines) == len(SEARCHED) + 2


def test_a_row_says_how_far_it_came_what_it_cost_and_how_it_is_trained_alone(home, lines):
    line = next(line for line in lines.values() if line["candidate"] == "adamw" and line["dice"])
    assert (line["state"], line["steps"]) == ("trained", "4")
    assert float(line["state_bytes_per_weight"]) == pytest.approx(8.0, abs=0.1)  # two float32 a weight, and a counter
    assert float(line["dice_low"]) <= float(line["dice"]) <= float(line["dice_high"])
    assert float(line["ms_per_step"]) > 0
    assert list(curve(home / "run" / line["row"])) == [2, 4]
    assert line["command"].endswith(f"optimizer.lr={float(line['lr'])}" + " seed=1" * (line["seed"] == "1"))
    summary = json.loads((home / "run" / line["row"] / "evaluation" / "summary.json").read_text())
    assert float(line["dice"]) == summary["metrics"]["dice"]["mean"]


def test_held_out_cases_of_rates_that_were_not_taken_are_not_looked_at(home, lines):
    others = [home / "run" / name for name, line in lines.items() if not line["dice"]]
    assert len(others) == 4
    assert not any((folder / "evaluation").exists() for folder in others)


def test_a_candidate_that_diverges_at_every_rate_is_named_and_ends_nothing(home, lines):
    assert {line["state"] for line in lines.values() if line["candidate"] == "broken"} == {"diverged"}
    text = (home / "run" / "study.md").read_text()
    assert "| broken | 0.05: diverged · 0.5: diverged | none |" in text
    assert "| broken | 0." not in text.partition("## Learning rates")[0]


def test_rows_that_fail_end_no_other_and_are_named_at_the_end(home, lines):
    assert not any(name.startswith("faulty") for name in lines)
    end = (home / "said").read_text().partition("rows have failed; resume=true goes on with them")[2]
    assert end.count("ValueError: no such axis") == 2
    assert all(f"faulty_lr{rate}_seed0" in end for rate in ("0.05", "0.5"))
    assert "| faulty | 0.05: failed · 0.5: failed | none |" in (home / "run" / "study.md").read_text()


def test_the_text_ranks_and_the_figures_are_drawn(home, lines):
    ranking, _, rates = (home / "run" / "study.md").read_text().partition("## Learning rates")
    rows = [row.split(" | ") for row in ranking.splitlines() if row.startswith(("| adamw", "| momentum"))]
    assert len(rows) == 2
    assert float(rows[0][1]) >= float(rows[1][1])
    assert "(at the edge)" in rates
    for name in ("curves.png", "rates.png", "differences.png"):
        assert (home / "run" / name).read_bytes().startswith(b"\x89PNG")


def test_mlflow_has_one_parent_and_a_run_for_each_row(home, lines):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lung_nodule")
    runs = client.search_runs([experiment.experiment_id])
    parent = next(run for run in runs if run.data.tags.get("kind") == "study")
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    faulty = {"faulty_lr0.05_seed0", "faulty_lr0.5_seed0"}
    assert {run.info.run_name for run in children} == faulty | set(lines)
    assert {"study/adamw/dice", "study/momentum/dice"} <= set(parent.data.metrics)
    assert {"study.csv", "study.md", "curves.png"} <= {file.path for file in client.list_artifacts(parent.info.run_id)}
    failed = {run.info.run_name for run in children if run.info.status == "FAILED"}
    assert failed == faulty | {name for name in lines if name.startswith("broken")}


def test_mistakes_in_rows_are_all_said_before_any_work(home, words):
    folder = home / "wrong"
    own = [word for word in words if not word.startswith("hydra.run.dir")]
    own += ["study.candidates.adamw.optimizer.eps=-1", "study.candidates.momentum.optimizer.momentum=2"]
    text = segpipe(*own, f"hydra.run.dir={folder}", cwd=home, code=2)
    assert "optimizer.eps=-1" in text
    assert "optimizer.momentum=2" in text
    assert not list(folder.glob("*/row.json"))
