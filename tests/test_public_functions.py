"""What a program does with `import segpipe`: four functions, light to import, the same as the command line."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import segpipe
from segpipe.errors import ConfigError, ModelError
from segpipe.io.images.volumes import read_volume


def test_importing_segpipe_imports_nothing_heavy():
    script = "import segpipe, sys; segpipe.predict; print([m for m in ('torch', 'numpy', 'hydra') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["train", "load_model", "predict", "evaluate"])
def test_every_function_says_what_it_takes_gives_and_raises(name):
    text = getattr(segpipe, name).__doc__
    assert all(part in text for part in ("Args:", "Raises:"))
    assert name in segpipe.__all__


def test_wrong_words_are_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match="lrr"):
        segpipe.train("+experiment=lung_nodule", "optimizer.lrr=1", folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("other", ["--multirun", "+sweep=x", "--cfg=job", "check=true", "hydra.run.dir=elsewhere"])
def test_words_that_ask_for_something_else_than_a_run_are_for_the_command_line(other, tmp_path):
    with pytest.raises(ConfigError, match="one call trains one run") as caught:
        segpipe.train("+experiment=lung_nodule", other, folder=tmp_path / "run")
    assert caught.value.facts == {"found": other}
    assert caught.value.hint == f"on the command line: python -m segpipe +experiment=lung_nodule {other}"
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with pytest.raises(ModelError):
        segpipe.load_model(tmp_path)


def test_masks_are_evaluated(tiny_dataset, tmp_path):
    masks = tiny_dataset / "masks"
    summary = segpipe.evaluate(masks, masks, output=tmp_path / "out")
    assert summary["metrics"]["dice"]["mean"] == 1.0
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert (tmp_path / "out" / "report.html").stat().st_size > 0
    with pytest.raises(ConfigError, match="a split is of a data set"):
        segpipe.evaluate(masks, masks, output=tmp_path / "out", split="test")


@pytest.mark.slow
def test_a_scan_is_segmented_as_by_the_command_line(untrained_model, tiny_dataset, tmp_path):
    from segpipe.__main__ import main

    scan = tiny_dataset / "images" / "case_0.nii.gz"
    model = segpipe.load_model(untrained_model, device="cpu", ratings="lidc-ratings")
    found = segpipe.predict(scan, model, output=tmp_path / "api")
    words = ["--model", str(untrained_model), "--input", str(scan), "--output", str(tmp_path / "verb")]
    words += ["--ratings", "lidc-ratings"]
    assert main(["predict", *words]) == 0
    np.testing.assert_array_equal(found.mask, read_volume(tmp_path / "verb" / "case_0.nii.gz").array)
    reported = [json.loads((tmp_path / kind / "case_0.json").read_text()) for kind in ("api", "verb")]
    assert reported[0]["findings"] == reported[1]["findings"]
    assert reported[0]["findings"] == json.loads(json.dumps([finding.to_dict() for finding in found.findings]))
    assert found.findings[0].ratings
    np.testing.assert_array_equal(segpipe.predict(str(scan), str(untrained_model)).mask, found.mask)
    with pytest.raises(ConfigError, match="a path must name one scan") as caught:
        segpipe.predict(tiny_dataset / "images", model)
    assert caught.value.facts["found"] == "10 scans"


@pytest.mark.slow
def test_a_program_trains_evaluates_and_predicts(tiny_words, tmp_path, monkeypatch, without_onnx):
    monkeypatch.chdir(tmp_path)
    arguments = list(sys.argv)
    words = [word for word in tiny_words if not word.startswith("trainer.max_steps")]
    run = segpipe.train(*words, "trainer.max_steps=4", "tracking=none", folder=tmp_path / "it's (a) run, = 1")
    assert sys.argv == arguments
    assert (run / "report.html").is_file()
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert summary["cases"] == 2
    with (run / "evaluation" / "froc.csv").open(newline="") as stream:
        points = [row for row in csv.DictReader(stream) if row["rule"] == "centre"]
    for name in ("sensitivity", "fp_per_scan"):
        column = [float(row[name]) for row in points]
        assert column == sorted(column)
    assert len({row["fp_per_scan"] for row in points}) > 5  # a curve, wherever the operating point lies
    assert segpipe.load_model(run / "model").folder.about["steps"] == 4


@pytest.mark.slow
def test_a_training_that_ends_without_a_model_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["+experiment=lung_nodule", "data=nifti", f"data.root={tmp_path / 'nowhere'}", "tracking=none"]
    with pytest.raises(ModelError, match="the training ended without a model") as caught:
        segpipe.train(*words, folder=tmp_path / "run")
    assert "nowhere" in caught.value.facts["log"].read_text()
