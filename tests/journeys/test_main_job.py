"""The main job as a user runs it: a command trains, evaluates, exports and reports; the model meets new scans."""

import json
import shutil
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pandas
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from segpipe.io.images.volumes import read_volume, write_volume
from tests.samples.small_models import skip_pages
from tests.support.leftovers import unfinished
from tests.support.processes import segpipe

pytestmark = pytest.mark.slow
FIGURES = ("dice", "iou", "precision", "recall", "f1", "volume_error_pct")


def be_strict() -> None:
    """What Python or a library will drop is an error in our own modules."""
    warnings.filterwarnings("error", category=DeprecationWarning, module=r"segpipe\b")


@pytest.fixture(scope="module")
def home(tmp_path_factory, new_database) -> Path:
    """The folder that the run is started in, with an empty MLflow database."""
    folder = tmp_path_factory.mktemp("home")
    new_database(folder)
    return folder


@pytest.fixture(scope="module")
def run(home, tiny_words) -> Path:
    words = [word for word in tiny_words if not word.startswith("trainer.max_steps")]
    text = segpipe(*words, "trainer.max_steps=60", "evaluation.overlays=12", "optimizer.lr=5e-3",
                   f"hydra.run.dir={home / 'run'}", cwd=home, before=be_strict)  # fmt: skip
    assert "held-out cases of" in text
    assert "python -m segpipe predict --model" in text
    return home / "run"


@pytest.fixture(scope="module")
def tracked(run, home):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    return client, client.get_run(json.loads((run / "tracking.json").read_text())["run_id"])


def test_a_run_leaves_everything_in_its_folder(run):
    for name in (
        "config.yaml",
        "train.log",
        "split.csv",
        "metrics.jsonl",
        "report.html",
        "figures/learning_curves.png",
        "figures/overlay_best.png",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "model/segpipe.json",
        "model/configs/metadata.json",
        "model/configs/inference.json",
        "model/models/model.safetensors",
        "model/models/model.onnx",
        "model/docs/README.md",
        "evaluation/cases.csv",
        "evaluation/lesions.csv",
        "evaluation/summary.json",
    ):
        assert (run / name).stat().st_size > 0, name
    assert unfinished(run) == []


def test_checkpoints_open_as_tensors_and_plain_data(run):
    for name in ("best", "last"):
        content = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert content["segpipe"]["network"]["name"] == "unet"


def test_the_summary_holds_every_figure_with_its_interval(run):
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    cases = pandas.read_csv(run / "evaluation" / "cases.csv")
    assert summary["cases"] == len(cases) == 2
    for name in FIGURES:
        assert {"mean", "median", "std", "ci95"} <= summary["metrics"][name].keys()
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(cases["dice"].mean())
    assert {"tp", "fp", "fn", "precision", "recall", "f1"} <= summary["lesions"].keys()
    assert summary["lesions"]["tp"] + summary["lesions"]["fn"] == 2
    assert summary["selection"].startswith("none")


def test_the_network_learnt_the_balls(run):
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert summary["metrics"]["dice"]["mean"] > 0.6


def test_the_split_is_written_by_patient_and_has_no_overlap(run):
    split = pandas.read_csv(run / "split.csv")
    assert sorted(split["role"].unique()) == ["test", "train", "val"]
    assert split.groupby("patient")["role"].nunique().max() == 1


def test_mlflow_shows_the_whole_run(tracked, run):
    client, reported = tracked
    assert reported.info.status == "FINISHED"
    assert reported.data.params["optimizer.lr"] == "0.005"
    assert reported.data.params["network.channels"] == "[8, 16]"
    assert len(reported.data.params) > 80
    for tag in ("git_commit", "recipe_digest", "data_hash", "segpipe_version"):
        assert reported.data.tags[tag]
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert reported.data.metrics["evaluation/dice"] == pytest.approx(summary["metrics"]["dice"]["mean"])
    for name in ("train/loss", "train/lr", "train/samples_per_second", "train/data_wait_fraction"):
        assert len(client.get_metric_history(reported.info.run_id, name)) == 60
    assert len(client.get_metric_history(reported.info.run_id, "val/pseudo_dice")) == 12
    assert {dataset.dataset.digest for dataset in reported.inputs.dataset_inputs} == {reported.data.tags["data_hash"]}


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("", {"config.yaml", "evaluation", "figures", "checkpoints", "report.html", "split.csv"}),
        ("evaluation", {"evaluation/cases.json", "evaluation/lesions.json"}),
        ("figures", {f"figures/{name}.png" for name in ("learning_curves", "overlay_best", "overlay_worst")}),
        ("checkpoints", {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}),
    ],
)
def test_mlflow_keeps_the_artifacts(tracked, folder, expected):
    client, reported = tracked
    assert expected <= {item.path for item in client.list_artifacts(reported.info.run_id, folder or None)}


def test_mlflow_links_the_model_to_run_data_and_figures_and_keeps_its_weights_once(tracked, run, home):
    client, reported = tracked
    (model,) = client.search_logged_models([reported.info.experiment_id], filter_string="name = 'model'")
    assert (model.source_run_id, model.status) == (reported.info.run_id, "READY")
    assert [output.model_id for output in reported.outputs.model_outputs] == [model.model_id]
    (dice,) = [metric for metric in model.metrics if metric.key == "evaluation/dice"]
    data = {dataset.dataset.name: dataset.dataset.digest for dataset in reported.inputs.dataset_inputs}
    assert data[dice.dataset_name] == dice.dataset_digest
    assert dice.dataset_name.endswith("(test)")
    assert model.tags["recipe_digest"] == reported.data.tags["recipe_digest"]
    assert len(list((home / "mlartifacts").rglob("model.safetensors"))) == 1


def test_the_first_line_of_the_log_says_what_computes(run):
    first = (run / "train.log").read_text().splitlines()[0]
    assert "lung_nodule: computing on cpu in " in first


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_predict_writes_masks_on_the_scans_own_grids(run, home, tmp_path, tiny_dataset, backend):
    scans = tmp_path / "scans"
    source = read_volume(tiny_dataset / "images" / "case_1.nii.gz")
    for name in ("plain.nii.gz", "other.nrrd", "third.mha"):
        write_volume(scans / name, source.array, source.grid)
    segpipe("predict", "--model", str(run / "model"), "--input", str(scans), "--output", str(tmp_path / "out"),
            "--backend", backend, cwd=tmp_path)  # fmt: skip
    masks = {file.name.partition(".")[0]: file for file in (tmp_path / "out").glob("*.nii.gz")}
    assert set(masks) == {"plain", "other", "third"}
    for mask in masks.values():
        read = nibabel.load(mask)
        assert read.shape == source.grid.shape
        np.testing.assert_allclose(read.affine, source.grid.affine, atol=1e-4)
    findings = pandas.read_csv(tmp_path / "out" / "findings.csv")
    assert {"scan", "volume_mm3", "longest_diameter_mm", "centre_x_mm", "mean_probability"} <= set(findings.columns)
    assert set(findings["scan"]) == {"plain", "other", "third"}
    itk = sitk.ReadImage(str(masks["other"]))
    assert itk.GetSize() == source.grid.shape


def test_of_many_scans_the_good_ones_are_done_and_the_bad_one_is_named(run, tmp_path, tiny_dataset):
    scans = tmp_path / "scans"
    scans.mkdir()
    good = (tiny_dataset / "images" / "case_1.nii.gz").read_bytes()
    (scans / "good.nii.gz").write_bytes(good)
    (scans / "cut.nii.gz").write_bytes(good[: len(good) // 2])
    text = segpipe("predict", "--model", str(run / "model"), "--input", str(scans), "--output", str(tmp_path / "out"),
                   cwd=tmp_path, code=2)  # fmt: skip
    assert "cut" in text
    assert (tmp_path / "out" / "good.nii.gz").exists()
    assert not (tmp_path / "out" / "cut.nii.gz").exists()


def test_a_model_with_a_changed_byte_is_refused(run, tmp_path, tiny_dataset):
    model = tmp_path / "model"
    shutil.copytree(run / "model", model)
    weights = model / "models" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    text = segpipe("predict", "--model", str(model), "--input", str(tiny_dataset / "images"),
                   "--output", str(tmp_path / "out"), cwd=tmp_path, code=2)  # fmt: skip
    assert "ModelError" in text
    assert "model.safetensors" in text


def test_resume_goes_on_in_the_same_folder_and_the_same_mlflow_run(run, home, tiny_words, tracked):
    folder = shutil.copytree(run, home / "resumed")
    words = [word for word in tiny_words if not word.startswith("trainer.max_steps")]
    words += ["optimizer.lr=5e-3", "trainer.max_steps=61", "resume=true", f"hydra.run.dir={folder}"]
    text = segpipe(*words, cwd=home, before=skip_pages)
    assert "resuming from last.ckpt" in text
    assert (folder / "tracking.json").read_text() == (run / "tracking.json").read_text()
    client, reported = tracked
    assert [point.step for point in client.get_metric_history(reported.info.run_id, "train/loss")][-1] == 61
