"""Runs that belong together, as a user starts them: a cross-validation with its ensemble, and a sweep."""

import json
from pathlib import Path
from statistics import fmean

import pandas
import pytest
import torch
from mlflow import MlflowClient

from tests.samples.small_models import skip_onnx_export, skip_pages, skip_run_reports
from tests.support.processes import segpipe

pytestmark = pytest.mark.slow
FOLDS = 2


@pytest.fixture(scope="module")
def home(tmp_path_factory, new_database) -> Path:
    """The folder that everything is called in, with an empty MLflow database."""
    folder = tmp_path_factory.mktemp("families")
    new_database(folder)
    return folder


@pytest.fixture(scope="module")
def words(tiny_words) -> list[str]:
    return [word for word in tiny_words if not word.startswith("trainer.max_steps")]


@pytest.fixture(scope="module")
def folds(words) -> list[str]:
    return [*words, "trainer.max_steps=10", "optimizer.lr=5e-3", "data.fold=all", f"data.folds={FOLDS}"]


@pytest.fixture(scope="module")
def cross_validation(home, folds) -> Path:
    folder = home / "cv"
    segpipe(*folds, "evaluation.overlays=12", f"hydra.run.dir={folder}", cwd=home, before=prepare)
    return folder


def prepare() -> None:
    """The network learns the same to the bit in as many threads as it gets next to another one."""
    skip_onnx_export()
    skip_run_reports()  # the main job's test looks at one
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def sweep(home, words) -> Path:
    folder = home / "sweep"
    segpipe(*words, "trainer.max_steps=2,6", f"hydra.sweep.dir={folder}", "--multirun", cwd=home, before=skip_pages)
    return folder


def tracked(home, folder):
    """The client, the run of a folder, and its children in the order of their names."""
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    parent = client.get_run(json.loads((folder / "tracking.json").read_text())["run_id"])
    found = client.search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    return client, parent, sorted(found, key=lambda run: run.info.run_name)


def test_every_case_is_evaluated_once_by_the_fold_that_did_not_see_its_patient(cross_validation, tiny_dataset):
    pooled = json.loads((cross_validation / "evaluation" / "summary.json").read_text())
    cases = pandas.read_csv(cross_validation / "evaluation" / "cases.csv")
    assert pooled["cases"] == len(cases) == 10
    assert sorted(cases["case"]) == sorted(file.name.partition(".")[0] for file in tiny_dataset.glob("images/*"))
    assert pooled["metrics"]["dice"]["mean"] == pytest.approx(cases["dice"].mean())
    for fold in range(FOLDS):
        run = cross_validation / f"fold_{fold}"
        held_out = set(pandas.read_csv(run / "evaluation" / "cases.csv")["case"])
        split = pandas.read_csv(run / "split.csv")
        assert held_out == set(split.loc[split["role"] == "test", "case"])
        assert held_out.isdisjoint(split.loc[split["role"] == "train", "case"])


def test_the_pooled_report_shows_cases_of_all_folds(cross_validation):
    page = (cross_validation / "report.html").read_text(encoding="utf-8")
    assert page.count('class="enlarge"') == 10  # every case there is
    assert 'id="views"' in page
    assert "10 held-out cases of" in page
    assert f"{FOLDS} folds" in page


def test_mlflow_holds_the_folds_under_one_parent_that_reports_their_spread(home, cross_validation):
    client, parent, children = tracked(home, cross_validation)
    pooled = json.loads((cross_validation / "evaluation" / "summary.json").read_text())
    assert [run.info.run_name for run in children] == [f"fold_{fold}" for fold in range(FOLDS)]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert [run.data.params["data.fold"] for run in (parent, *children)] == ["all", *map(str, range(FOLDS))]
    reported = [run.data.metrics["evaluation/dice"] for run in children]
    assert parent.data.metrics["evaluation/dice"] == pytest.approx(pooled["metrics"]["dice"]["mean"])
    assert parent.data.metrics["spread/dice_mean"] == pytest.approx(fmean(reported))
    assert parent.data.metrics["spread/dice_min"] == pytest.approx(min(reported))
    assert parent.data.metrics["spread/dice_max"] == pytest.approx(max(reported))
    assert parent.data.tags["children"] == str(FOLDS)
    assert "**pooled**" in parent.data.tags["mlflow.note.content"]
    artifacts = {item.path for item in client.list_artifacts(parent.info.run_id)}
    assert {"children.json", "report.html", "summary.json", "evaluation"} <= artifacts
    (model,) = client.search_logged_models(
        [parent.info.experiment_id], filter_string=f"source_run_id = '{parent.info.run_id}'"
    )
    dice = next(metric for metric in model.metrics if metric.key == "evaluation/dice")
    assert (dice.value, dice.dataset_digest) == (parent.data.metrics["evaluation/dice"], parent.data.tags["data_hash"])
    assert "system/cpu_utilization_percentage" in children[0].data.metrics
    (data,) = parent.inputs.dataset_inputs
    assert data.dataset.digest == parent.data.tags["data_hash"] == children[0].data.tags["data_hash"]
    assert "| Dice |" in children[0].data.tags["mlflow.note.content"]


def test_the_ensemble_of_the_folds_predicts_as_one_model_folder(home, cross_validation, tiny_dataset, tmp_path):
    reported = json.loads((cross_validation / "model" / "segpipe.json").read_text())
    assert reported["network"]["members"] == FOLDS
    scan = tiny_dataset / "images" / "case_1.nii.gz"
    segpipe("predict", "--model", cross_validation / "model", "--input", scan, "--output", tmp_path, cwd=home)
    assert (tmp_path / "case_1.nii.gz").stat().st_size > 0
    assert "mean_probability" in pandas.read_csv(tmp_path / "findings.csv").columns


def test_the_folder_and_the_mlflow_run_of_a_cross_validation_are_the_same_ten_cases(home, cross_validation, tmp_path):
    _, parent, _ = tracked(home, cross_validation)
    words = ["--tracking-uri", f"sqlite:///{home / 'mlflow.db'}", "--output", tmp_path / "comparison"]
    reported = segpipe("compare", cross_validation, parent.info.run_id, *words, cwd=home)
    assert "10 shared cases of 10 patients" in reported
    report = json.loads((tmp_path / "comparison" / "comparison.json").read_text())
    assert report["pairs"][0]["metrics"]["dice"]["ties"] == 10


def test_folds_side_by_side_give_what_they_give_one_after_another(home, folds, cross_validation):
    """The processes of the folds draw no pages: what is compared are figures."""
    folder, skip = home / "side_by_side", "callbacks=[{_target_: tests.samples.small_models.SkipPages}]"
    text = segpipe(*folds, skip, "trainer.devices=2", f"hydra.run.dir={folder}", cwd=home, before=prepare)
    assert "2 folds, 2 side by side, one on each device" in text
    assert all(f"fold {fold}: lung_nodule: computing on cpu" in text for fold in range(FOLDS))
    for name in ("cases.csv", "lesions.csv"):
        read = [(run / "evaluation" / name).read_text() for run in (cross_validation, folder)]
        assert read[0] == read[1]
    _, parent, children = tracked(home, folder)
    assert [run.info.run_name for run in children] == [f"fold_{fold}" for fold in range(FOLDS)]
    assert {run.info.status for run in (parent, *children)} == {"FINISHED"}
    assert parent.data.tags["children"] == str(FOLDS)
    assert (folder / "model" / "segpipe.json").is_file()


def test_a_sweep_is_one_parent_that_names_its_best_child(home, sweep):
    _, parent, children = tracked(home, sweep)
    assert [run.data.params["trainer.max_steps"] for run in children] == ["2", "6"]
    best = max(children, key=lambda run: run.data.metrics["evaluation/dice"])
    assert parent.data.tags["kind"] == "sweep"
    assert parent.data.tags["children"] == "2"
    assert parent.data.metrics["spread/dice_max"] == pytest.approx(best.data.metrics["evaluation/dice"])
    reported = {run.info.run_id: run.data.metrics["evaluation/dice"] for run in children}
    assert reported[parent.data.tags["best_child"]] == max(reported.values())


def test_two_jobs_of_the_sweep_are_compared_with_pictures(home, sweep, tmp_path):
    reported = segpipe("compare", sweep / "0", sweep / "1", "--output", tmp_path / "comparison", cwd=home)
    assert "A = sweep/0   B = sweep/1" in reported
    assert "shared cases of" in reported
    assert "MLflow  " in reported
