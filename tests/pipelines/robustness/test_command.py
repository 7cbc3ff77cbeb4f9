"""`segpipe robustness` from the command line, on tiny scans."""

import json
from dataclasses import replace

import numpy as np
import pytest
from mlflow import MlflowClient

from segpipe.__main__ import main
from segpipe.cli.robustness.flags import ATTACKS, parse_flags
from segpipe.corruptions import CORRUPTIONS
from segpipe.datasets.manifest import write_manifest
from segpipe.datasets.sources.folders import find_cases
from segpipe.errors import ConfigError
from segpipe.inference.attacks.attack import METHODS
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.system.files.csv_table import read_csv
from segpipe.system.processes.stopping import Stopped

COLUMNS = {"table": None, "case_column": "case", "patient_column": "patient"}
NAMES, SEVERITIES = ("low_dose", "tilt", "offset"), (1, 5)


@pytest.fixture
def call(tiny_dataset, untrained_model, tmp_path):
    """Calls the verb on four scans, of which one has no mask."""
    manifest = find_cases(tiny_dataset, **COLUMNS)
    entries = [*manifest.entries[:3], replace(manifest.entries[3], mask=None)]
    write_manifest(manifest.with_entries(entries), tmp_path / "data")
    words = ["--model", untrained_model, "--data", tmp_path / "data", "--output", tmp_path / "out", "--device", "cpu"]
    words += ["--corruptions", *NAMES, "--severities", *SEVERITIES]
    return lambda *more: main(["robustness", *map(str, [*words, *more])])


@pytest.mark.slow
def test_a_model_is_tried_and_a_call_that_was_killed_goes_on(call, tmp_path, capsys, monkeypatch, new_database):
    asked, evaluate = [], CaseEvaluator.evaluate

    def stop_after(count):
        def stopping(self, entry, case):
            if len(asked) == count:
                raise Stopped(15)
            asked.append(entry.id)
            return evaluate(self, entry, case)

        monkeypatch.setattr(CaseEvaluator, "evaluate", stopping)

    stop_after(10)
    assert call() == 143
    assert not (tmp_path / "out" / "summary.json").exists()
    stop_after(1000)
    assert call("--tracking-uri", new_database(tmp_path), "--attacks", "fgsm") == 2
    drawn = 3  # the cases of the pictures are predicted again
    assert len(asked) == 3 * (1 + (len(NAMES) + 1) * len(SEVERITIES)) + 2 * drawn
    reported = capsys.readouterr()
    assert "case_3" in reported.err
    assert "takes scans without masks" in reported.err
    assert "3 cases of 3 patients, as they are → corrupted" in reported.out
    _is_whole(tmp_path / "out")
    _is_tracked(tmp_path)


def _is_whole(out):
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["cases"], summary["failed_cases"], summary["split"]) == (3, 1, "all")
    assert list(summary["corruptions"]) == sorted(NAMES)
    rows = read_csv(out / "cases.csv")[1]
    assert len(rows) == 3 * 9
    conditions = read_csv(out / "conditions.csv")[1]
    assert [_condition(row) for row in conditions[:3]] == [("", "0"), ("low_dose", "1"), ("low_dose", "5")]
    for row in conditions:
        own = [float(one["dice"]) for one in rows if _condition(one) == _condition(row)]
        assert float(row["dice"]) == pytest.approx(np.mean(own))
    attacked = [float(row["dice"]) for row in rows if row["corruption"] == "fgsm"]
    assert summary["mean_attacked"]["dice"]["mean"] == pytest.approx(np.mean(attacked))
    corrupted = [float(row["dice"]) for row in rows if row["corruption"] not in ("", "fgsm")]
    assert summary["mean_corrupted"]["dice"]["mean"] == pytest.approx(np.mean(corrupted))
    assert summary["corruptions"]["offset"]["unit"] == "HU"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('class="enlarge"') == 6
    assert 'id="attacks"' in page
    assert ">attack</th>" in page
    assert "mean loss of Dice" in page
    assert "low dose" in page


def _condition(row):
    return row["corruption"], row["severity"]


def _is_tracked(home):
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("robustness")
    (run,) = client.search_runs([experiment.experiment_id])
    points = client.get_metric_history(run.info.run_id, "tilt/dice")
    assert [point.step for point in points] == [1, 5]
    assert {"mean_corrupted/drop", "mean_attacked/drop", "fgsm/dice"} <= set(run.data.metrics)
    assert run.info.status == "FINISHED"


def test_a_network_without_gradients_is_not_attacked(call, tmp_path, capsys):
    assert call("--attacks", "pgd", "--backend", "onnx") == 2
    assert "--attacks needs a network that PyTorch runs" in capsys.readouterr().err
    assert not (tmp_path / "out" / "summary.json").exists()


def test_attacks_are_tried_when_they_are_named():
    words = ["--model", "m", "--data", "d", "--output", "o"]
    assert list(METHODS) == list(ATTACKS)
    assert parse_flags(words).attacks == []
    given = parse_flags([*words, "--corruptions", "none", "--attacks", "pgd", "fgsm", "pgd"])
    assert (given.corruptions, given.attacks) == ([], ["pgd", "fgsm"])


def test_all_corruptions_are_the_default_and_names_are_taken_once():
    words = ["--model", "m", "--data", "d", "--output", "o"]
    given = parse_flags(words)
    assert given.corruptions == list(CORRUPTIONS)
    assert given.severities == [1, 2, 3, 4, 5]
    assert parse_flags([*words, "--corruptions", "tilt", "motion", "tilt"]).corruptions == ["tilt", "motion"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corruptions", "low_doze"], "no such corruption\n  found  low_doze\n(.|\n)*did you mean low_dose"),
        (["--severities", "6"], "invalid choice: 6"),
        (["--attacks", "pdg"], "invalid choice: 'pdg'"),
        (["--corruptions", "none"], "there is nothing to try\n(.|\n)*--attacks fgsm pgd"),
        (["--most", "0"], "--most must be at least 1"),
    ],
)
def test_wrong_flags_are_explained(words, message):
    with pytest.raises(ConfigError, match=message):
        parse_flags(["--model", "m", "--data", "d", "--output", "o", *words])
