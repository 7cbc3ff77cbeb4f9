import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from segpipe.__main__ import main
from segpipe.evaluation.evaluate import evaluate_pair, summarise, write_evaluation
from segpipe.evaluation.tables import case_rows, lesion_rows
from segpipe.geometry import Grid
from segpipe.io.images.volumes import read_volume, write_volume
from tests.samples.small_models import SCAN

GRID = Grid((30, 20, 12), np.eye(4))


def block(start, size=4):
    mask = np.zeros(GRID.shape, dtype=np.uint8)
    mask[start : start + size, 5 : 5 + size, 2 : 2 + size] = 1
    return mask


def results(shift, cases=8, size=4):
    pairs = [(number, block(10 + shift, size), block(10, size)) for number in range(cases)]
    return [evaluate_pair(f"case{n}", f"p{n}", prediction, reference, GRID) for n, prediction, reference in pairs]


def write_folder(folder, shift, *, data_hash="d1", **options):
    found = results(shift, **options)
    write_evaluation(folder, found, {"data": "blocks", "data_hash": data_hash, **summarise(found)})
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def compare(*words):
    return main(["compare", *map(str, words)])


def test_an_output_that_cannot_be_written_is_one_message_before_any_figure(here, capsys):
    (here / "taken").touch()
    old, new = write_folder(here / "old", 2), write_folder(here / "new", 1)
    assert compare(old, new, "--output", here / "taken" / "page") == 2
    reported = capsys.readouterr()
    assert reported.out == ""
    assert reported.err.startswith("OutputError: the comparison cannot be written\n")


def test_two_evaluations_give_text_json_and_a_page(here, capsys):
    old, new = write_folder(here / "old", 2), write_folder(here / "new", 1)
    assert compare(old, new) == 0
    reported = capsys.readouterr().out
    assert "A = old   B = new" in reported
    assert "new is better than old: Dice +0.250" in reported
    assert re.search(
        r"Dice +0\.500 +0\.750 +\+0\.250 +\+0\.250 … \+0\.250 +0\.008 +0\.008 +8/0/0", reported
    )  # 2 of 256
    assert "best by mean Dice over the cases all share: new" in reported
    report = json.loads((here / "comparison" / "comparison.json").read_text())
    assert report["pairs"][0]["metrics"]["dice"]["difference"] == 0.25
    page = (here / "comparison" / "comparison.html").read_text()
    assert "new is better than old" in page
    assert "<strong>A</strong> old<br><strong>B</strong> new" in page
    assert ">B − A<" in page
    assert ">B better or equal (8)<" in page
    assert ">B worse (0)<" in page
    assert ">may be luck<" in page
    assert not (here / "mlflow.db").exists()


def test_runs_that_do_not_differ_are_said_to_be_equal(here, capsys):
    assert compare(write_folder(here / "a", 1), write_folder(here / "b", 1)) == 0
    reported = capsys.readouterr().out
    assert "No difference beyond luck between a and b: Dice +0.000" in reported
    assert "no kind of lesion in which they differ" in reported
    assert "cases that differ most" not in reported


def test_the_page_has_true_minus_signs_and_leaves_names_alone(here, capsys):
    old, new = write_folder(here / "2026-11-23_09", 1), write_folder(here / "2026-11-23_10", 2)
    assert compare(old, new) == 0
    page = (here / "comparison" / "comparison.html").read_text()
    assert "Dice −0.250" in page
    assert "2026-11-23_09 is better than 2026-11-23_10" in page


def test_runs_of_one_name_are_distinguished(here, capsys):
    runs = [write_folder(here / folder / "evaluation" / "x", 1) for folder in ("a", "b")]
    assert compare(*runs) == 0
    assert "A = x (A)   B = x (B)" in capsys.readouterr().out


def test_other_data_are_refused_unless_forced(here, capsys):
    runs = write_folder(here / "a", 1), write_folder(here / "b", 1, data_hash="d2")
    assert compare(*runs) == 2
    reported = capsys.readouterr().err
    assert "the runs were not evaluated on the same data" in reported
    assert "a d1, b d2" in reported
    assert not (here / "comparison").exists()
    assert compare(*runs, "--force") == 0
    assert "note: compared by force: the data hashes differ: a d1, b d2" in capsys.readouterr().out
    assert "compared by force" in (here / "comparison" / "comparison.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "a comparison needs two runs or more"),
        (["a", "nowhere"], "a run to compare must be a folder or an MLflow run id"),
        (["a", "empty"], "the folder has no evaluation"),
        (["a", "a", "--metric", "dise"], "the metric is not known"),
        (["a", "a", "--register", "nodule", "--no-tracking"], "--register needs tracking"),
        (["a", "a", "--colour", "red"], "unrecognized arguments: --colour"),
    ],
)
def test_wrong_words_are_reported(here, words, message, capsys):
    write_folder(here / "a", 1)
    (here / "empty").mkdir()
    assert compare(*words) == 2
    assert message in capsys.readouterr().err


def write_run(folder, shift, dataset):
    """A run folder as a training leaves it, with masks and the data set's name."""
    found = []
    for number in range(3):
        reference = read_volume(dataset / "masks" / f"case_{number}.nii.gz")
        mask = np.roll(reference.array, shift, axis=0)
        write_volume(folder / "evaluation" / "masks" / f"case_{number}.nii.gz", mask, reference.grid)
        found.append(evaluate_pair(f"case_{number}", f"p{number}", mask, reference.array, reference.grid))
    write_evaluation(folder / "evaluation", found, {"data": "tiny", "data_hash": "d1", **summarise(found)})
    data = {"name": "nifti", "root": str(dataset), "table": None, "case_column": "case", "patient_column": "patient"}
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {**data, "cache": None}, "recipe": SCAN.to_dict()}))
    return folder


def test_run_folders_show_the_cases_that_differ_most(here, tiny_dataset, capsys):
    runs = [write_run(here / name, shift, tiny_dataset) for name, shift in (("old", 3), ("new", 1))]
    assert compare(*runs, "--no-tracking") == 0
    assert "no pictures" not in capsys.readouterr().out
    page = (here / "comparison" / "comparison.html").read_text()
    assert page.count("enlarge case_") == 6  # three cases, either run
    assert "case_0, old" in page
    assert "Click a picture to enlarge it, to scroll" in page


@pytest.mark.slow
def test_a_click_on_a_differing_case_opens_the_scan_with_both_masks(here, tiny_dataset, browser):
    """Offline, and the other run's mask waits to be switched on."""
    from selenium.webdriver.support.ui import WebDriverWait

    runs = [write_run(here / name, shift, tiny_dataset) for name, shift in (("<b>old", 3), ("new", 1))]
    assert compare(*runs, "--no-tracking") == 0
    browser.get((here / "comparison" / "comparison.html").as_uri())
    for side, shown in (("first", [True, True, False]), ("second", [True, False, True])):
        browser.execute_script("document.querySelector(arguments[0]).click()", f"#differs_1_{side} button.enlarge")
        WebDriverWait(browser, 120).until(lambda driver: opened(driver) not in (None, "loading"))
        assert opened(browser) == f"differs_1_{side}", browser.get_log("browser")
        ticks = browser.find_elements("css selector", "#masks input")
        assert [tick.is_selected() for tick in ticks] == shown
        names = [
            label.text.strip().partition(":")[0] for label in browser.find_elements("css selector", "#masks label")
        ]
        assert names == ["reference", "<b>old", "new"]
        assert colours(browser) == set(np.array(["blue", "orange", "purple"])[shown])
        next(tick for tick in ticks if not tick.is_selected()).click()
        WebDriverWait(browser, 60).until(lambda driver: colours(driver) == {"blue", "orange", "purple"})
        browser.execute_script("document.querySelector('#large form button').click()")
        browser.execute_script("delete document.documentElement.dataset.view")
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def opened(browser):
    return browser.execute_script("return document.documentElement.dataset.view")


def colours(browser):
    """Which masks' colours are anywhere in the viewer."""
    shot = browser.find_element("css selector", "#viewer canvas").screenshot_as_png
    red, green, blue = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=int).transpose(2, 0, 1)
    found = {
        "blue": (blue > red + 30) & (green > red + 15),
        "orange": (red > blue + 30) & (green > blue + 15),
        "purple": (red > green + 15) & (blue > green + 8),
    }
    return {name for name, pixels in found.items() if pixels.sum() > 30}


def test_a_case_whose_mask_is_gone_is_named_and_the_others_are_drawn(here, tiny_dataset, capsys):
    runs = [write_run(here / name, shift, tiny_dataset) for name, shift in (("old", 3), ("new", 1))]
    (runs[0] / "evaluation" / "masks" / "case_1.nii.gz").unlink()
    assert compare(*runs, "--no-tracking") == 0
    reported = capsys.readouterr().out
    assert "no picture: " in reported
    assert "case_1" in reported.partition("no picture: ")[2]
    assert (here / "comparison" / "comparison.html").read_text().count("enlarge case_") == 4


def test_folds_keep_the_masks_of_a_cross_validation(here, tiny_dataset, capsys):
    runs = [write_run(here / name, shift, tiny_dataset) for name, shift in (("old", 3), ("new", 1))]
    for number in range(3):
        fold = runs[0] / f"fold_{number}" / "evaluation" / "masks"
        fold.mkdir(parents=True)
        (runs[0] / "evaluation" / "masks" / f"case_{number}.nii.gz").rename(fold / f"case_{number}.nii.gz")
    (runs[0] / "evaluation" / "masks").rmdir()
    assert compare(*runs, "--no-tracking") == 0
    assert "no picture" not in capsys.readouterr().out
    assert (here / "comparison" / "comparison.html").read_text().count("enlarge case_") == 6


def test_without_masks_the_comparison_says_why_it_has_no_pictures(here, tiny_dataset, capsys):
    runs = [write_run(here / name, shift, tiny_dataset) for name, shift in (("old", 3), ("new", 1))]
    (runs[1] / "evaluation" / "masks").rename(here / "elsewhere")
    assert compare(*runs, "--no-tracking") == 0
    assert "no pictures: the masks of new are not here" in capsys.readouterr().out
    assert "niivue" not in (here / "comparison" / "comparison.html").read_text()


def test_scans_that_are_gone_leave_the_comparison_without_pictures(here, tiny_dataset, capsys):
    runs = [write_run(here / name, shift, tiny_dataset) for name, shift in (("old", 3), ("new", 1))]
    for run in runs:
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["data"]["root"] = str(here / "gone")
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert compare(*runs, "--no-tracking") == 0
    assert "no pictures: " in capsys.readouterr().out


@pytest.fixture
def tracked(here, untrained_model, new_database):
    """Two MLflow runs with evaluation and model, as a training logs them."""
    from segpipe.tracking.mlflow import Tracker

    uri, ids = new_database(here), []
    for name, shift in (("old", 2), ("new", 1)):
        found = results(shift)
        write_evaluation(here / name, found, {"data": "blocks", "data_hash": "d1", **summarise(found)})
        facts = {"experiment": "e", "run_name": name, "config": {"seed": 0}, "tags": {}, "folder": here / name}
        with Tracker.start(uri=uri, **facts) as tracker:
            tracker.log_file(here / name / "summary.json")
            tracker.log_table(case_rows(found), "evaluation/cases")
            tracker.log_table(lesion_rows(found), "evaluation/lesions")
            tracker.log_folder(untrained_model, "model")
        ids.append(tracker.run_id)
    return ids


@pytest.mark.slow
def test_mlflow_runs_are_compared_and_the_best_is_registered(here, tracked, tiny_dataset, capsys):
    assert compare(*tracked, "--register", "nodule", "--alias", "best") == 0
    reported = capsys.readouterr().out
    assert "new is better than old" in reported
    assert "registered  models:/nodule@best" in reported
    from segpipe.tracking.server import connect

    client = connect(f"sqlite:///{here / 'mlflow.db'}")
    assert client.get_model_version_by_alias("nodule", "best").run_id == tracked[1]
    experiment = client.get_experiment_by_name("comparisons")
    (logged,) = client.search_runs([experiment.experiment_id])
    assert logged.data.metrics["difference/dice"] == 0.25
    assert logged.data.tags["compared_runs"] == ",".join(tracked)
    names = {file.path for file in client.list_artifacts(logged.info.run_id, "comparison")}
    assert {"comparison/comparison.html", "comparison/comparison.json", "comparison/pairs.json"} <= names
    assert_registered_model_finds(here, "models:/nodule@best", tiny_dataset / "images" / "case_0.nii.gz")


def assert_registered_model_finds(here, model, scan):
    """Loads the registered model in a process of its own, as a user of MLflow alone would, and gives it a scan."""
    script = (
        "import sys, mlflow, pandas\n"
        f"mlflow.set_tracking_uri('sqlite:///{here / 'mlflow.db'}')\n"
        "findings = mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.DataFrame({'scan': [sys.argv[2]]}))\n"
        "print(findings[['scan', 'number', 'volume_mm3']].to_csv(index=False))"
    )
    command = [sys.executable, "-c", script, model, str(scan)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    header, first, *_ = done.stdout.strip().splitlines()
    assert header == "scan,number,volume_mm3"
    assert first.startswith(f"{scan},1,")


@pytest.mark.slow
def test_what_the_server_does_not_have_is_reported(here, tracked, capsys):
    assert compare(tracked[0], "0" * 32) == 2
    assert "the MLflow server does not know the run" in capsys.readouterr().err
    from segpipe.tracking.mlflow import Tracker

    facts = {"experiment": "e", "run_name": "bare", "config": {}, "tags": {}, "folder": here / "bare"}
    with Tracker.start(uri=f"sqlite:///{here / 'mlflow.db'}", **facts) as tracker:
        pass
    assert compare(tracked[0], tracker.run_id) == 2
    assert "the run has no evaluation" in capsys.readouterr().err


def log_parent(here, kind, *, pooled=None):
    """An MLflow run that holds a cross-validation or a sweep of two runs, as they log it themselves."""
    from segpipe.tracking.mlflow import Tracker
    from segpipe.tracking.nested_runs import Child, report_nested_runs

    children = [Child(f"child {n}", f"{n}" * 32, {"cases": 8, **summarise(results(n))}) for n in (1, 2)]
    facts = {"experiment": "e", "run_name": kind, "config": {}, "tags": {"kind": kind}, "folder": here / "parent"}
    with Tracker.start(uri=f"sqlite:///{here / 'mlflow.db'}", **facts) as parent:
        if pooled is None:
            report_nested_runs(parent, children, best=children[0])
        else:
            write_evaluation(here / "parent", pooled, {"data": "blocks", "data_hash": "d1", **summarise(pooled)})
            report_nested_runs(parent, children, pooled=summarise(pooled))
            parent.log_table(case_rows(pooled), "evaluation/cases")
            parent.log_table(lesion_rows(pooled), "evaluation/lesions")
            parent.log_file(here / "parent" / "summary.json")
    return parent.run_id


@pytest.mark.slow
def test_a_cross_validation_is_compared_by_its_pooled_cases_and_a_sweep_is_refused(here, capsys):
    write_folder(here / "old", 2)
    assert compare(here / "old", log_parent(here, "cross-validation", pooled=results(1))) == 0
    reported = capsys.readouterr().out
    assert "cross-validation is better than old: Dice +0.250" in reported
    assert json.loads((here / "comparison" / "comparison.json").read_text())["pairs"][0]["cases_shared"] == 8
    assert compare(here / "old", log_parent(here, "sweep")) == 2
    reported = capsys.readouterr().err
    assert "a sweep has no evaluation of its own, its runs have" in reported
    assert f"the best by mean Dice is {'1' * 32}" in reported
    assert "Traceback" not in reported


def test_a_folder_of_runs_is_refused_with_their_names(here, capsys):
    write_folder(here / "old", 2)
    for job in range(2):
        write_folder(here / "sweep" / str(job) / "evaluation", 1)
    assert compare(here / "old", here / "sweep") == 2
    reported = capsys.readouterr().err
    assert "the folder holds runs and has no evaluation of its own" in reported
    assert "0, 1" in reported
    assert f"e.g. {here / 'sweep' / '0'}" in reported


def test_evaluations_without_a_model_cannot_be_registered(here, capsys):
    assert compare(write_folder(here / "a", 1), write_folder(here / "b", 2), "--register", "nodule") == 2
    assert "no model that could be registered" in capsys.readouterr().err
