"""A network whose divisor does not divide the patch is trained, evaluated, exported and predicted with all the same."""

import pytest

from segpipe.__main__ import main
from segpipe.case import Case
from segpipe.export.model_folder import read_model_folder
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.io.images.volumes import read_volume
from segpipe.training.callbacks import read_history
from segpipe.training.checkpoints.saving import MONITOR
from tests.networks.test_registry import small

SETTINGS = {
    **{f"network.{key}": value for key, value in small("dynunet").items() if key != "name"},
    "network": "dynunet", "sampling": "voi", "recipe.scope": "voi", "recipe.patch": "[28,28,14]", "tracking": "none",
    "trainer.max_steps": 2, "training.validate_every": 1, "evaluation.overlays": 0,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("without_onnx", "without_reports")
def test_patches_that_are_no_multiples_of_the_divisor_are_learnt(tiny_words, tiny_dataset, tmp_path):
    words = [word for word in tiny_words if not word.startswith("network.")]
    assert main([*words, *(f"{key}={value}" for key, value in SETTINGS.items()), f"hydra.run.dir={tmp_path}"]) == 0
    assert sum(MONITOR in point for point in read_history(tmp_path)) == 2
    model = read_model_folder(tmp_path / "model")
    assert (model.recipe.patch, model.divisor) == ((28, 28, 14), (8, 8, 4))
    scan = read_volume(tiny_dataset / "images" / "case_0.nii.gz")
    case, options = Case("case", scan.array, scan.grid), PredictOptions(region=None)
    prediction = predict_case(case, model.recipe, build_engine(model), options, divisor=model.divisor)
    assert prediction.mask.shape == (40, 40, 24)
    assert len(prediction.findings) == 1
