"""The model folder is written whatever becomes of the evaluation; a bad case costs itself alone."""

import json
import shutil

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import settings_of
from segpipe.config.compose import compose
from segpipe.errors import DatasetError
from segpipe.export.model_folder import read_model_folder
from segpipe.export.seen_cases import ROLES, SEEN, SeenCases, make_group
from segpipe.io.images.volumes import read_volume
from segpipe.networks import build_network
from segpipe.pipelines.provenance import collect_provenance
from segpipe.preprocessing.scan_digest import scan_digest
from segpipe.tracking.metric_names import summary_metrics
from segpipe.training import evaluate_and_export as module
from segpipe.training.data.run_data import prepare_data
from segpipe.training.evaluate_and_export import evaluate_and_export
from segpipe.training.fitting import TrainingResult, recipe_of
from segpipe.training.transfer.initial_weights import keep_facts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_onnx")]  # a model folder is written


@pytest.fixture
def data(tiny_dataset, tmp_path):
    """A copy of the tiny data set that a test may damage."""
    return shutil.copytree(tiny_dataset, tmp_path / "data")


@pytest.fixture
def finish(tiny_words, data, tmp_path):
    """Evaluates and exports an untrained network after `damage` was done to the files of the held-out cases."""

    def run(damage, *more, privacy=None):
        words = [*tiny_words, f"data.root={data}", *more]
        settings = settings_of(compose(words, registries), registries())
        run_data = prepare_data(settings, recipe_of(settings))
        provenance = collect_provenance(settings, run_data)
        for number, entry in enumerate(run_data.entries("test")):
            damage(number, entry)
        fitted = TrainingResult(build_network(settings.network), 7, privacy)
        return evaluate_and_export(settings, run_data, fitted, tmp_path / "run", provenance=provenance)

    return run


def digest_of(file):
    volume = read_volume(file)
    return scan_digest(volume.array, volume.grid)


def truncate(entry):
    entry.image.write_bytes(entry.image.read_bytes()[:1000])


def test_a_bad_case_is_named_and_the_others_are_evaluated(finish, caplog):
    result = finish(lambda number, entry: number or truncate(entry))
    assert (result.summary["cases"], result.summary["failed_cases"]) == (1, 1)
    assert (result.exit_code, result.problem) == (2, None)
    assert "ImageError: " in caplog.text
    assert "1 more could not be evaluated, see above" in result.describe()
    model = read_model_folder(result.model.path)
    assert model.about["figures"]["cases"] == 1
    assert model.about["steps"] == 7
    assert model.operating_point["overlap"] == 0.25  # of the main job, by which the point was chosen
    assert "membership" not in model.about
    fingerprint = model.about["fingerprint"]  # of the case that was evaluated
    assert fingerprint["scans"] == 1
    assert fingerprint["values"]["slice_mm"] == [1.5]
    assert len(fingerprint["values"]["findings"]) == 1
    assert "fingerprint" not in (result.model.path / "docs" / "README.md").read_text()


def test_the_model_lists_its_cases_by_role_and_those_that_were_never_read_are_none(finish, data):
    model = finish(lambda number, entry: number or truncate(entry)).model
    (group,) = model.about[SEEN]
    assert [len(group[role]) for role in ROLES] == [7, 1, 1]
    digests = {file.name: digest_of(file) for file in (data / "images").iterdir() if file.stat().st_size > 1000}
    counts = SeenCases([group]).count(digests.values())
    assert counts == {"train": 7, "val": 1, "test": 1, "of": 9}
    assert SEEN not in json.loads((model.path.parent / "evaluation" / "summary.json").read_text())


def test_a_model_lists_the_cases_that_its_initial_weights_have_seen_as_well(finish, tmp_path):
    former = make_group({"train": ["00" * 32]})
    keep_facts({"source": "a", SEEN: [former]}, tmp_path / "run")
    own, inherited = finish(lambda number, entry: None).model.about[SEEN]
    assert inherited == former
    assert SeenCases([own, inherited]).role_of("00" * 32) == "train"


def test_membership_is_measured_when_it_is_asked_for(finish, tmp_path):
    result = finish(lambda number, entry: None, "evaluation.membership=true")
    found = result.summary["membership"]
    assert found["cases"] == {"trained_on": 2, "held_out": 2}
    assert found["dice"]["held_out"] == pytest.approx(result.summary["metrics"]["dice"]["mean"])
    assert 0 <= found["auc"] <= 1
    assert json.loads((tmp_path / "run" / "evaluation" / "summary.json").read_text())["membership"] == found
    assert read_model_folder(result.model.path).about["membership"] == found
    assert "Cases of the training were guessed" in (result.model.path / "docs" / "README.md").read_text()
    assert len(list((tmp_path / "run" / "evaluation" / "masks").iterdir())) == 2  # of held-out cases alone


def test_what_was_spent_of_the_patients_privacy_goes_with_the_figures(finish, tmp_path):
    known = {"epsilon": 2.5, "delta": 0.01, "randomness": "system"}
    result = finish(lambda number, entry: None, privacy=known)
    assert json.loads((tmp_path / "run" / "evaluation" / "summary.json").read_text())["privacy"] == known
    assert read_model_folder(result.model.path).about["privacy"] == known
    assert SEEN not in result.model.about  # a list would give away for certain who is in it
    assert "ε = 2.50 at δ = 0.01 per patient" in (result.model.path / "docs" / "README.md").read_text()
    assert summary_metrics(result.summary)["evaluation_details/privacy_epsilon"] == 2.5


def test_without_any_evaluation_the_model_is_exported_and_what_is_missing_is_said(finish, tmp_path):
    result = finish(lambda number, entry: truncate(entry))
    assert result.exit_code == 2
    assert result.summary is None
    assert result.problem.message == "no case could be evaluated"
    assert "the model is there, its evaluation is missing: no case could be evaluated" in result.describe()
    assert f"segpipe evaluate --model {tmp_path / 'run' / 'model'} --data DATASET" in result.describe()
    assert "figures" not in read_model_folder(result.model.path).about
    assert not (tmp_path / "run" / "evaluation" / "summary.json").exists()


def test_an_evaluation_that_cannot_be_written_costs_no_model(finish, tmp_path):
    (tmp_path / "run" / "evaluation" / "cases.csv").mkdir(parents=True)
    result = finish(lambda number, entry: None)
    assert "the evaluation cannot be written" in result.problem.message
    assert len(result.results) == 2
    assert result.exit_code == 2
    assert read_model_folder(result.model.path).operating_point["threshold"] == 0.5


def test_an_operating_point_that_cannot_be_chosen_costs_no_model(finish, monkeypatch):
    choose = module.choose_point_and_confidence

    def fail(results, recipe, **options):
        if results:
            raise ZeroDivisionError("division by zero")
        return choose(results, recipe, **options)

    monkeypatch.setattr(module, "choose_point_and_confidence", fail)
    result = finish(lambda number, entry: None)
    assert result.problem.message == "ZeroDivisionError: division by zero"
    assert result.summary["cases"] == 2
    operating_point = json.loads((result.model.path / "segpipe.json").read_text())["operating_point"]
    assert operating_point["min_probability"] == 0.0
    assert result.exit_code == 2


def test_without_any_readable_scan_nothing_can_be_exported(finish, data):
    def damage(number, entry):
        for image in (data / "images").iterdir():
            image.write_bytes(b"")

    with pytest.raises(DatasetError, match="no scan of the data set can be read any more") as caught:
        finish(damage)
    assert caught.value.facts["cases"] == 10
    assert "segpipe export --checkpoint" in caught.value.hint
