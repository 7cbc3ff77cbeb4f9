"""A run with a second stage, from the training to what its model folder predicts."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file

from segpipe.evaluation.detection.candidates import find_candidates
from segpipe.export.model_folder import read_model_folder
from segpipe.inference.batch.scans import find_scans
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.loaded_model import LoadedModel
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.io.images.volumes import read_volume
from tests.samples.small_models import skip_pages, skip_reports
from tests.support.processes import segpipe

pytestmark = pytest.mark.slow
WEIGHTS = "models/second_stage.safetensors"


@pytest.fixture(scope="module")
def words(tiny_words):
    """Five of the ten scans validate, which is the fewest that a choice is made on."""
    two_stages = ["detector=two_stage", "detector.steps=20", "detector.batch_size=8", "detector.crop_mm=12"]
    two_stages += ["detector.layers.channels=[4]", "data.fractions=[0.4,0.5,0.1]"]
    return [*tiny_words, *two_stages, "tracking=none", "hydra.run.dir=run"]


@pytest.fixture(scope="module")
def run(words, tmp_path_factory):
    """The folder of a finished run, and what it said."""
    home = tmp_path_factory.mktemp("two_stages")
    return home / "run", segpipe(*words, cwd=home, before=skip_reports)


@pytest.fixture(scope="module")
def held_out(run, tiny_dataset):
    """A scan that neither stage has seen."""
    (mask,) = (run[0] / "evaluation" / "masks").iterdir()
    return tiny_dataset / "images" / mask.name, mask


def test_it_says_what_was_learnt_and_chosen(run):
    folder, text = run
    assert "second stage: learning from " in text
    assert "CPM of the validation scans " in text
    summary = json.loads((folder / "evaluation" / "summary.json").read_text())
    stage = summary["second_stage"]
    assert stage["lesions"] >= 4
    assert stage["candidates"] > stage["lesions"]
    assert stage["validation_cpm"] >= stage["validation_cpm_of_one_stage"]
    card = (folder / "model" / "docs" / "README.md").read_text()
    assert f"| second stage | candidates {stage['candidates']}, lesions {stage['lesions']}, " in card
    assert "look again at each candidate (one network)" in card


def test_the_model_folder_predicts_what_was_evaluated(run, held_out):
    image, evaluated = held_out
    found = LoadedModel(read_model_folder(run[0] / "model")).predict(image)
    assert np.array_equal(found.mask, read_volume(evaluated).array)
    assert not found.probabilities


def test_both_backends_rate_the_candidates_alike_and_no_mask_depends_on_them(run, held_out):
    folder = read_model_folder(run[0] / "model")
    case = find_scans(held_out[0])[0].read_case()
    engines = [build_engine(folder, backend=backend, device="cpu", exact=True) for backend in ("torch", "onnx")]
    torch_found, onnx_found = (
        predict_case(case, folder.recipe, engine, PredictOptions(), divisor=folder.divisor) for engine in engines
    )
    assert np.array_equal(torch_found.mask, onnx_found.mask)
    confidences = [find_candidates(found.probability).confidence for found in (torch_found, onnx_found)]
    assert confidences[0] == pytest.approx(confidences[1], abs=1e-3)
    engines[0].second_stage = None
    alone = predict_case(case, folder.recipe, engines[0], PredictOptions(), divisor=folder.divisor)
    assert np.array_equal(alone.mask, torch_found.mask)
    own, others = (max(found.findings, key=lambda one: one.volume_mm3) for found in (alone, torch_found))
    assert own.volume_mm3 == others.volume_mm3
    assert own.mean_probability != others.mean_probability


def test_a_run_that_was_killed_in_its_second_stage_makes_the_same_again(run, words):
    folder, _ = run
    before = load_file(folder / "model" / WEIGHTS)
    shutil.rmtree(folder / "model")
    text = segpipe(*words, "resume=true", cwd=folder.parent, before=skip_pages)
    assert "resuming from last.ckpt" in text
    after = load_file(folder / "model" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all((before[name] == after[name]).all() for name in before)
