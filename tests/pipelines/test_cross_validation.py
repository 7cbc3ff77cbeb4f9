"""A fold whose evaluation failed costs itself: the others are pooled, and all networks are in the ensemble."""

import json
import shutil
from dataclasses import replace

import pytest

from segpipe.cli.train import registries
from segpipe.config.check import plain
from segpipe.config.compose import compose
from segpipe.config.schema import check_settings
from segpipe.errors import ConfigError, DatasetError
from segpipe.evaluation.evaluate import evaluate_pair
from segpipe.evaluation.evaluated_cases import EvaluatedCases, write_summary
from segpipe.evaluation.results import PredictedLesion
from segpipe.export.model_folder import read_model_folder
from segpipe.io.images.volumes import read_volume
from segpipe.pipelines import cross_validation
from segpipe.training.run_result import RunResult
from tests.samples.small_models import UNET, example, small_stage, write_small

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_onnx")]  # three model folders are written
ABOUT = {
    "experiment": "e",
    "data": "tiny",
    "data_hash": "0123456789abcdef",
    "recipe_digest": "ff",
    "segpipe_version": "0",
    "git_commit": "none",
    "split": {"seed": 7},
    "selection": "none: the last weights are evaluated",
}


@pytest.fixture
def fold(tiny_dataset, tmp_path):
    """A run that predicted the masks of its two cases exactly, or whose evaluation failed."""

    def make(number, *, fails=False):
        folder = tmp_path / f"fold_{number}"
        model = write_small(folder / "model", UNET, second_stage=small_stage(number))
        if fails:
            problem = DatasetError("no case could be evaluated")
            return RunResult(folder, model, example(), ABOUT, EvaluatedCases(errors=[problem]), None, problem)
        results = []
        for name in (f"case_{2 * number}", f"case_{2 * number + 1}"):
            file = tiny_dataset / "masks" / f"{name}.nii.gz"
            mask = read_volume(file)
            results.append(evaluate_pair(name, name, mask.array, mask.array, mask.grid))
            (folder / "evaluation" / "masks").mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / "evaluation" / "masks")
        cases = EvaluatedCases(results)
        summary = write_summary(cases, folder / "evaluation", about=ABOUT, seed=0)
        return RunResult(folder, model, example(), ABOUT, cases, summary)

    return make


@pytest.fixture
def config(tiny_words):
    return plain(compose(tiny_words, registries))


def test_the_folds_that_were_evaluated_are_pooled(fold, config, tmp_path):
    folds = [fold(0), fold(1, fails=True), fold(2)]
    result = cross_validation._pool(folds, tmp_path, config)
    assert result.exit_code == 2
    assert result.problem.message == "no case could be evaluated"
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert (summary["cases"], summary["failed_cases"], len(summary["folds"])) == (4, 1, 2)
    assert summary["split"] == {"folds": 3, "seed": 7}
    assert summary["metrics"]["dice"]["mean"] == 1.0
    model = read_model_folder(result.model.path)
    assert (model.network["members"], model.second_stage.members) == (3, 3)
    assert (tmp_path / "report.html").is_file()
    assert [child.name for child in cross_validation._children(folds)] == ["fold 0", "fold 2"]


def test_the_operating_point_is_chosen_on_what_the_folds_hold_out(fold, config, tmp_path):
    """Six lesions of 0.9, in each case one that is false, of 0.6 in the first fold and of 0.7 in the others."""
    folds = []
    for number, probability in enumerate((0.6, 0.7, 0.7)):
        one = fold(number)
        results = [with_candidates(result, right=0.9, false=probability) for result in one.cases.results]
        folds.append(replace(one, cases=EvaluatedCases(results)))
    point = read_model_folder(cross_validation._pool(folds, tmp_path, config).model.path).operating_point
    assert point["min_probability"] == pytest.approx(0.9)
    assert point["origin"] == "chosen on 6 lesions of 6 held-out cases of 3 folds"
    assert point["froc"][-1] == pytest.approx({"threshold": 0.6, "sensitivity": 1, "fp_per_scan": 1})
    config["evaluation"]["tune_operating_point"] = False
    point = read_model_folder(cross_validation._pool(folds, tmp_path / "plain", config).model.path).operating_point
    assert (point["min_probability"], point["origin"]) == (0, "default: not chosen on any case")


def with_candidates(result, *, right, false):
    lesion = replace(result.lesions[0], matched=1)
    own = PredictedLesion(1, lesion.volume_mm3, lesion.diameter_mm, lesion.centre_mm, matched=1, probability=right)
    other = replace(own, number=2, matched=None, centre_mm=(90.0, 90.0, 90.0), probability=false)
    return replace(result, lesions=(lesion,), candidates=(own, other))


def test_without_any_evaluation_the_ensemble_is_written(fold, config, tmp_path):
    result = cross_validation._pool([fold(0, fails=True), fold(1, fails=True)], tmp_path, config)
    assert (result.exit_code, result.summary) == (2, None)
    assert "its evaluation is missing: no case could be evaluated" in result.describe()
    assert "figures" not in read_model_folder(result.model.path).about
    assert not (tmp_path / "report.html").exists()


def test_processes_of_a_launcher_are_refused(config, tmp_path, monkeypatch):
    start = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "1", "RANK": "0"}
    for name, value in start.items():
        monkeypatch.setenv(name, value)
    config["trainer"] |= {"devices": "auto"}
    settings, _ = check_settings(config, registries())
    with pytest.raises(ConfigError, match="a cross-validation in one command starts its processes itself") as caught:
        cross_validation.cross_validate(settings, config, tmp_path / "run")
    assert caught.value.facts["torchrun started"] == "2 processes"
    assert not (tmp_path / "run").exists()
