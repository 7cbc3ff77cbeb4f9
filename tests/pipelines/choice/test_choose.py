"""Cross-validated runs go in, and the best of them or of their ensembles comes out as one model folder."""

import json
import shutil
from operator import attrgetter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from yaml import safe_dump

from segpipe.__main__ import main
from segpipe.cli.train import registries
from segpipe.config.check import plain, settings_of
from segpipe.config.compose import compose
from segpipe.datasets.opening import cache_folder, prepared_folder, quick_hash
from segpipe.errors import ConfigError, DatasetError, ServiceError
from segpipe.evaluation.evaluated_cases import EvaluatedCases, evaluate_each, sort_outcomes, write_summary
from segpipe.export.model_folder import load_network, read_model_folder, write_model_folder
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.engines.engine import TorchEngine
from segpipe.inference.options import PredictOptions
from segpipe.networks import build_network
from segpipe.networks.ensemble import Ensemble
from segpipe.pipelines.choice.choosing import _export
from segpipe.pipelines.choice.combined import evaluate_together
from segpipe.pipelines.choice.runs import read_runs
from segpipe.system.files.csv_table import write_csv
from segpipe.tracking.identity import write_tracked_run
from segpipe.tracking.models.registry import has_model
from segpipe.tracking.server import connect
from segpipe.training.data.run_data import split_data
from tests.samples.small_models import POINT, UNET, example, without_onnx_export

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_onnx")]
WIDE = {**UNET, "channels": [8, 16]}
FOLDS = 2


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(home, tiny_words) -> list[Path]:
    """Two cross-validations of two folds, as they lie on the disk, of networks that have learnt nothing."""
    words = [*tiny_words, f"data.folds={FOLDS}"]
    with without_onnx_export():
        return [
            _run(home / name, words, spec, seed)
            for seed, (name, spec) in enumerate({"narrow": UNET, "wide": WIDE}.items())
        ]


def _run(folder: Path, words: list[str], spec: dict, seed: int) -> Path:
    config = compose([*words, "data.fold=all"], registries)
    folder.mkdir()
    (folder / "config.yaml").write_text(safe_dump(plain(config)))
    networks, cases = [], EvaluatedCases()
    for fold in range(FOLDS):
        settings = settings_of(compose([*words, f"data.fold={fold}"], registries), registries())
        recipe, manifest = settings.recipe, split_data(settings, settings.recipe)
        about = {"data": "tiny", "data_hash": quick_hash(manifest, prepared_folder(cache_folder(None))), "split": {}}
        rows = [{"case": entry.id, "patient": entry.patient, "role": entry.split} for entry in manifest.entries]
        torch.manual_seed(10 * seed + fold)
        networks.append(build_network(spec).eval())
        given = {"recipe": recipe, "operating_point": POINT, "about": about, "example_bcxyz": example()}
        write_model_folder(folder / f"fold_{fold}" / "model", network=networks[-1], spec=spec, **given)
        write_csv(folder / f"fold_{fold}" / "split.csv", rows, ("case", "patient", "role"), what="the split")
        evaluator = CaseEvaluator(TorchEngine(networks[-1]), recipe, (2, 2, 2), manifest.labels, PredictOptions())
        held_out = [entry for entry in manifest.entries if entry.split == "test"]
        cases.results += sort_outcomes(evaluate_each(evaluator, held_out, name=attrgetter("id"))).results
    write_summary(cases, folder / "evaluation", about=about, seed=0)
    spec = {"name": "ensemble", "members": FOLDS, "member": spec}
    write_model_folder(folder / "model", network=Ensemble(networks), spec=spec, **given)
    return folder


def test_of_equally_good_runs_the_cheapest_is_taken_and_exported(runs, tmp_path, capsys):
    assert main(["choose", *map(str, runs), "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "out" / "choice.json").read_text())
    means = {row["name"]: row["mean"] for row in report["candidates"]}
    assert set(means) == {"narrow", "wide", "narrow+wide"}
    assert report["best"] == max(means, key=means.get)
    assert report["apart"] == {}
    assert set(report["nested"]["taken"]) == {"0", "1"}
    text = capsys.readouterr().out
    assert "10 cases of 10 patients, each by networks that did not train on its patient" in text
    assert f"taken    {report['taken']}: " in text
    model = read_model_folder(tmp_path / "out" / "model")
    assert model.about["selection"].startswith("chosen among 3 candidates by dice of the same out-of-fold cases")
    assert model.about["chosen"] == report["taken"].split("+")
    assert model.about["figures"]["metrics"]["dice"]["mean"] == pytest.approx(means[report["taken"]])


def test_a_choice_is_a_run_of_mlflow_with_its_candidates_its_honest_figure_and_its_model(
    runs, tmp_path, new_database, capsys
):
    uri, output = new_database(tmp_path), tmp_path / "out"
    for run in runs:
        shutil.copytree(run, tmp_path / run.name)
        write_tracked_run(tmp_path / run.name, run.name[0] * 32, uri)
    copied = [str(tmp_path / run.name) for run in runs]
    assert main(["choose", *copied, "--output", str(output), "--members", "1"]) == 0
    report = json.loads((output / "choice.json").read_text())
    means = {row["name"]: row["mean"] for row in report["candidates"]}
    client = connect(uri)
    (logged,) = client.search_runs([client.get_experiment_by_name("choices").experiment_id])
    assert (logged.info.run_name, logged.info.status) == (f"choice of {report['taken']}", "FINISHED")
    assert logged.data.metrics["choice/taken"] == means[report["taken"]]
    assert logged.data.metrics["evaluation/dice"] == pytest.approx(means[report["taken"]])
    assert logged.data.metrics["choice/honest"] == report["nested"]["mean"]
    assert logged.data.metrics["choice/honest_ci95_low"] == report["nested"]["interval"][0]
    assert logged.data.params["taken"] == report["taken"]
    assert logged.data.tags["candidate_runs"] == f"{'n' * 32},{'w' * 32}"
    assert "chosen without each fold and measured on it" in logged.data.tags["mlflow.note.content"]
    files = {file.path for file in client.list_artifacts(logged.info.run_id, "choice")}
    assert files == {"choice/choice.json", "choice/candidates.json"}
    table = client.download_artifacts(logged.info.run_id, "choice/candidates.json", str(tmp_path))
    assert str(tmp_path) not in Path(table).read_text()  # no folder of the machine
    assert has_model(logged.info.run_id, uri=uri)
    assert f"MLflow   mlflow ui --backend-store-uri {uri}" in capsys.readouterr().out


def test_a_choice_among_runs_that_no_server_knows_or_that_shall_not_be_logged_is_not_logged(runs, tmp_path, capsys):
    words = ["choose", *map(str, runs), "--members", "1"]
    assert main([*words, "--output", str(tmp_path / "one")]) == 0
    nowhere = ["--tracking-uri", "http://127.0.0.1:9", "--no-tracking"]
    assert main([*words, "--output", str(tmp_path / "two"), *nowhere]) == 0
    assert "MLflow" not in capsys.readouterr().out


def test_a_server_that_does_not_answer_is_named_before_anything_is_predicted(runs, tmp_path, monkeypatch, capsys):
    def refuse(uri):
        raise ServiceError("the MLflow server does not answer")

    monkeypatch.setattr("segpipe.tracking.server.connect", refuse)
    words = ["choose", *map(str, runs), "--output", str(tmp_path / "out"), "--tracking-uri", "http://127.0.0.1:9"]
    assert main(words) == 2
    assert "does not answer" in capsys.readouterr().err
    assert not (tmp_path / "out" / "choice.json").exists()


def test_an_ensemble_predicts_each_case_by_the_networks_that_did_not_train_on_it(runs, tmp_path):
    """Two runs with the same networks are, together, each of them."""
    again = tmp_path / "again"
    shutil.copytree(runs[0], again)
    assert main(["choose", str(runs[0]), str(again), "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    rows = json.loads((tmp_path / "out" / "choice.json").read_text())["candidates"]
    assert len({row["mean"] for row in rows}) == 1
    assert rows[0]["mean"] > 0
    own = (runs[0] / "evaluation" / "cases.csv").read_text().splitlines()
    together = (tmp_path / "out" / "candidates" / "narrow+again" / "cases.csv").read_text().splitlines()
    assert [line.split(",")[:3] for line in sorted(together)] == [line.split(",")[:3] for line in sorted(own)]


def test_an_ensemble_of_different_networks_is_one_model_folder(runs, tmp_path):
    team = tuple(read_runs(runs))
    together = evaluate_together(team, "both", tmp_path / "evaluation", device="cpu")
    model = _export(team, together.evaluation, together, tmp_path / "model", selection="by hand")
    assert [part["members"] for part in model.network["parts"]] == [2, 2]
    assert model.divisor == (2, 2, 2)
    assert model.about["fingerprint"]["scans"] == 10
    assert together.point["origin"].startswith("chosen on 10 lesions of 10 held-out cases of all folds")
    assert {name: model.operating_point[name] for name in together.point} == together.point
    network, single = load_network(model), [load_network(read_model_folder(run / "model")) for run in runs]
    image = torch.rand(1, 1, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = torch.stack([torch.softmax(one(image), 1) for one in single]).mean(0)
        torch.testing.assert_close(torch.softmax(network(image), 1), wanted)
    assert len(load_file(model.weights)) == sum(len(one.state_dict()) for one in single)


def test_runs_that_cannot_be_one_ensemble_stand_alone(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[1], other)
    narrow = read_model_folder(runs[0] / "model")
    given = {"recipe": narrow.recipe, "about": narrow.about, "example_bcxyz": example()}
    point = {**POINT, "threshold": 0.4}
    shutil.rmtree(other / "model")
    write_model_folder(
        other / "model", network=load_network(narrow), spec=narrow.network, operating_point=point, **given
    )
    assert main(["choose", str(runs[0]), str(other), "--output", str(tmp_path / "out"), "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "out" / "choice.json").read_text())
    assert report["apart"] == {"narrow+other": "other has another operating point than narrow"}
    assert [row["name"] for row in report["candidates"]] == ["narrow", "other"]


def test_without_ensembles_nothing_is_predicted(runs, tmp_path):
    words = ["choose", *map(str, runs), "--output", str(tmp_path / "out"), "--members", "1"]
    assert main(words) == 0
    assert not (tmp_path / "out" / "candidates").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: (run / "config.yaml").unlink(), "must be a cross-validation that has come to its end"),
        (lambda run: shutil.rmtree(run / "evaluation"), "must be a cross-validation that has come to its end"),
    ],
)
def test_other_folders_are_refused(runs, tmp_path, change, message):
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    change(other)
    with pytest.raises(ConfigError, match=message):
        read_runs([runs[0], other])


def test_runs_of_other_data_are_refused(runs, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(runs[0], other)
    summary = json.loads((other / "evaluation" / "summary.json").read_text())
    (other / "evaluation" / "summary.json").write_text(json.dumps({**summary, "data_hash": "ff"}))
    with pytest.raises(DatasetError, match="runs to choose from must be of the same data") as caught:
        read_runs([runs[0], other])
    assert caught.value.facts["data of other"] == "ff"


def test_two_different_runs_are_needed(runs):
    with pytest.raises(ConfigError, match="a choice needs two runs or more"):
        read_runs(runs[:1])
    with pytest.raises(ConfigError, match="must be different folders"):
        read_runs([runs[0], runs[0]])


def test_data_that_have_changed_are_not_predicted_again(runs, tmp_path, tiny_dataset, capsys):
    less, other = tmp_path / "less", tmp_path / "other"
    shutil.copytree(tiny_dataset, less)
    for file in less.glob("*/case_0.nii.gz"):
        file.unlink()
    shutil.copytree(runs[0], other)
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace(str(tiny_dataset), str(less)))
    words = ["choose", str(other), str(runs[1]), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert main(words) == 2
    assert "the data set is not the one that the runs were trained on" in capsys.readouterr().err


def test_a_figure_that_is_not_there_is_named(runs, tmp_path, capsys):
    assert main(["choose", *map(str, runs), "--output", str(tmp_path / "o"), "--members", "1", "--metric", "dise"]) == 2
    assert "the runs share no case with this figure" in capsys.readouterr().err
