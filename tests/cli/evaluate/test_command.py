import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from tests.evaluation.two_classes import IGNORE, write_two_class_folders

NNUNET = Path(__file__).parents[2] / "evaluation" / "nnunet_two_classes.json"
GRID = Grid((24, 20, 12), np.diag([-0.8, -0.8, 2.5, 1.0]))


def block(start, value=1):
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[start : start + 4, 5:9, 2:6] = value
    return mask


@pytest.fixture
def folders(tmp_path):
    """Three cases: right, half right, and one that only the reference has."""
    for name, predicted, reference in (("a", 4, 4), ("b", 6, 4), ("c", None, 8)):
        write_volume(tmp_path / "references" / f"{name}.nii.gz", block(reference), GRID)
        mask = np.zeros(GRID.shape, dtype=np.uint8) if predicted is None else block(predicted)
        write_volume(tmp_path / "predictions" / f"{name}.mha", mask, GRID)
    return tmp_path


def evaluate(folder, *more):
    flags = ["--predictions", folder / "predictions", "--references", folder / "references", "--output", folder / "out"]
    return main(["evaluate", *map(str, flags), "--processes", "1", *map(str, more)])


def test_two_folders_of_masks_give_summary_tables_and_report(folders, capsys):
    assert evaluate(folders) == 0
    summary = json.loads((folders / "out" / "summary.json").read_text())
    assert (summary["cases"], summary["failed_cases"]) == (3, 0)
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(0.5)
    assert summary["empty"] == {"both": 0, "only_reference": 0, "only_prediction": 1}
    assert (summary["lesions"]["tp"], summary["lesions"]["fn"]) == (2, 1)
    with (folders / "out" / "cases.csv").open(newline="") as stream:
        assert [row["dice"] for row in csv.DictReader(stream)] == ["1.0", "0.5", "0.0"]
    assert "<html" in (folders / "out" / "report.html").read_text()
    reported = capsys.readouterr().out
    assert "3 cases of 3 patients" in reported
    assert "lesions: 2 found, 1 missed, 0 false" in reported
    assert "only the prediction in 1" in reported


def test_bad_masks_are_named_the_rest_is_done_and_the_exit_code_is_2(folders, capsys):
    write_volume(folders / "references" / "d.nii.gz", block(4), GRID)
    (folders / "predictions" / "b.mha").write_bytes(b"no image")
    assert evaluate(folders) == 2
    reported = capsys.readouterr()
    assert "a case has no prediction" in reported.err
    assert "case" in reported.err
    assert "the image file cannot be read" in reported.err
    assert "Traceback" not in reported.err
    summary = json.loads((folders / "out" / "summary.json").read_text())
    assert (summary["cases"], summary["failed_cases"]) == (2, 2)


def test_patients_of_a_table_are_resampled_whole(folders):
    (folders / "cases.csv").write_text("case,patient,texture\na,p,5\nb,p,1\nc,q,5\n")
    assert evaluate(folders, "--table", folders / "cases.csv") == 0
    summary = json.loads((folders / "out" / "summary.json").read_text())
    assert summary["patients"] == 2
    assert summary["strata"]["texture"]["solid"]["lesions"] == 2


def test_spheres_of_another_data_set_are_evaluated_by_centre(folders):
    cases = [
        {"id": name, "patient": name, "image": f"images/{name}.nii.gz", "mask": file, "extra": {"sphere": name == "a"}}
        for name, file in ((file.name.removesuffix(".nii.gz"), f"references/{file.name}")
                           for file in sorted((folders / "references").iterdir()))
    ]  # fmt: skip
    head = {"format": "segpipe-manifest-1", "name": "spheres", "source": "luna16", "labels": {"1": "nodule"}}
    (folders / "manifest.json").write_text(json.dumps({**head, "cases": cases}))
    assert evaluate(folders) == 0
    summary = json.loads((folders / "out" / "summary.json").read_text())
    assert summary["metrics"]["dice"]["n"] == len(cases) - 1


def test_when_no_case_can_be_evaluated_nothing_is_written(folders, capsys):
    for file in (folders / "predictions").iterdir():
        file.write_bytes(b"no image")
    assert evaluate(folders) == 2
    assert "no case could be evaluated" in capsys.readouterr().err
    assert not (folders / "out").exists()


def test_an_output_that_cannot_be_written_is_reported_before_any_work(folders, capsys):
    (folders / "out").write_text("a file in its place")
    assert evaluate(folders) == 2
    reported = capsys.readouterr().err
    assert "the evaluation cannot be written" in reported
    assert "evaluating" not in reported


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output", "o"], "give either --predictions and --references, --model and --data, or --marks"),
        (["--output", "o", "--predictions", "p"], "--predictions needs --references"),
        (["--output", "o", "--model", "m"], "--model needs --data"),
        (["--output", "o", "--model", "m", "--data", "d", "--table", "t"], "flags that --model does not take"),
        (
            ["--output", "o", "--predictions", "p", "--references", "r", "--split", "test"],
            "flags that --predictions does not take",
        ),
        (
            ["--output", "o", "--predictions", "p", "--references", "r", "--processes", "0"],
            "--processes must be at least 1",
        ),
        (["--predictions", "p"], "the following arguments are required: --output"),
        (["--output", "o", "--predictions", "nowhere", "--references", "nowhere"], "the folder of masks must exist"),
    ],
)
def test_wrong_flags_are_reported(flags, message, capsys):
    assert main(["evaluate", *flags]) == 2
    assert message in capsys.readouterr().err


def test_masks_are_evaluated_without_importing_pytorch():
    script = (
        "import sys, segpipe.cli.evaluate.command, segpipe.evaluation.folders\n"
        "import segpipe.pipelines.reports.evaluation_report\n"
        "print([name for name in ('torch', 'monai', 'pytorch_lightning', 'mlflow') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_two_classes_of_a_folder_have_the_figures_of_nnunet(tmp_path, capsys):
    theirs = json.loads(NNUNET.read_text())["tasks"]
    write_two_class_folders(tmp_path, "exclusive")
    for task, classes in (("exclusive", ["solid=1", "ground_glass=2"]), ("regions", ["nodule=1,2", "solid_core=2"])):
        assert evaluate(tmp_path, "--ignore", IGNORE, "--classes", *classes) == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert list(summary["classes"]) == [word.partition("=")[0] for word in classes]
        for own, figures in zip(summary["classes"].values(), theirs[task]["mean"].values(), strict=True):
            assert own["metrics"]["dice"]["mean"] == pytest.approx(figures["Dice"], abs=1e-6)
        assert summary["class_means"]["dice"] == pytest.approx(theirs[task]["foreground_mean"]["Dice"], abs=1e-6)
        assert "by class" in capsys.readouterr().out
    report = (tmp_path / "out" / "report.html").read_text()
    assert "By class" in report
    assert "solid_core" in report


def test_classes_may_have_any_values_and_others_are_background(tmp_path):
    labels = np.maximum(block(4, 40), block(12, 200))
    for folder in ("predictions", "references"):
        write_volume(tmp_path / folder / "a.nii.gz", np.maximum(labels, block(18, 7)), GRID)
    assert evaluate(tmp_path, "--classes", "tumour=40", "node=200") == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [one["lesions"]["tp"] for one in summary["classes"].values()] == [1, 1]
    assert summary["lesions"]["tp"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--classes", "solid"], "classes must be given as NAME=VALUE"),
        (["--classes", "solid=1", "solid=2"], "classes must be given as NAME=VALUE"),
        (["--classes", "a=1,2", "b=2,3"], "each must lie in the next larger one"),
        (["--classes", "solid=1", "--ignore", "1"], "the ignored value must not belong to a class"),
        (["--classes", "solid=1", "--reference-label", "1"], "give either --classes or labels of one class"),
        (["--ignore", "3"], "--ignore needs --classes"),
    ],
)
def test_classes_that_make_no_sense_are_refused(folders, capsys, words, message):
    assert evaluate(folders, *words) == 2
    assert message in capsys.readouterr().err
