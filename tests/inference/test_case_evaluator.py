"""What is evaluated is what was trained on: the recipe's label alone, whatever else a mask shows."""

import numpy as np
import pytest

from segpipe.datasets.manifest import Entry
from segpipe.geometry import Grid
from segpipe.inference.case_evaluator import CaseEvaluator
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import Prediction
from segpipe.io.images.volumes import write_volume
from tests.samples.prepared_cases import make_recipe, make_scan


@pytest.mark.parametrize(("labels", "lesion"), [({1: "nodule", 2: "lung"}, 1), ({1: "lung", 4: "nodule"}, 4)])
def test_lungs_in_a_reference_mask_do_not_count(tmp_path, monkeypatch, labels, lesion):
    image, drawn = make_scan(lesions=[((10, 10, 10), 4)])
    lung = next(value for value, name in labels.items() if name == "lung")
    mask = np.where(drawn == 1, lesion, 0).astype(np.uint8)
    mask[20:30, 10:20, 5:15] = lung
    grid = Grid(image.shape, np.eye(4))
    files = [write_volume(tmp_path / f"{name}.nii.gz", array, grid) for name, array in (("i", image), ("m", mask))]
    monkeypatch.setattr("segpipe.inference.case_evaluator.predict_case", lambda *_, **__: Prediction(drawn, []))

    evaluate = CaseEvaluator(None, make_recipe(), (1, 1, 1), labels, PredictOptions())
    result = evaluate(Entry("a", "p", *files))
    assert result.figures["dice"] == 1.0
