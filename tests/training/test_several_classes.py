"""Training with two classes and with nested regions, end to end: from masks to findings, exported and read again."""

import json

import pytest

from segpipe.__main__ import main
from segpipe.case import Case
from segpipe.export.model_folder import read_model_folder
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.io.images.volumes import read_volume
from tests.samples.two_classes import write_two_classes

REGIONS = "recipe.regions={nodule: [1, 2], core: [2]}"


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
    return write_two_classes(tmp_path_factory.mktemp("two"), cases=7)


def words(root, folder):
    settings = {
        "data": "nifti", "data.root": root, "data.workers": 0, "data.fractions": "[0.7,0.15,0.15]",
        "network": "unet_small", "network.channels": "[8,16]", "network.strides": "[2]", "network.num_res_units": 1,
        "network.dropout": 0, "sampling": "scan", "loss": "dice_ce", "optimizer": "adamw_nodule",
        "recipe.patch": "[32,32,16]", "recipe.spacing_mm": "[1.0,1.0,1.5]", "recipe.ignore": 255,
        "recipe.labels": "{1: ground_glass, 2: solid}", "augmentation": "none", "optimizer.lr": 0.02,
        "training.batch_size": 2, "training.ema": "null", "training.validation_patches": 2,
        "training.validate_every": 120, "evaluation.overlays": 0, "tracking": "none", "trainer": "cpu",
        "trainer.max_steps": 120, "trainer.workers": 0, "trainer.progress": "false", "hydra.run.dir": folder,
    }  # fmt: skip
    return ["+experiment=lung_nodule", *(f"{key}={value}" for key, value in settings.items())]


@pytest.mark.slow
@pytest.mark.parametrize("regions", [[], [REGIONS]], ids=["classes", "regions"])
def test_each_class_is_learnt_evaluated_exported_and_found(two_classes, tmp_path, regions, request):
    if regions:
        request.getfixturevalue("without_reports")  # the report of a run of several classes is drawn once
    names = ["nodule", "core"] if regions else ["ground_glass", "solid"]
    assert main([*words(two_classes, tmp_path), *regions]) == 0
    summary = json.loads((tmp_path / "evaluation" / "summary.json").read_text())
    assert list(summary["classes"]) == names
    assert all(of_class["metrics"]["dice"]["mean"] > 0.5 for of_class in summary["classes"].values())
    assert summary["metrics"]["dice"]["mean"] > 0.5

    model = read_model_folder(tmp_path / "model")
    point = choose_point(model.operating_point, OperatingPointRequest())
    assert list(point.classes) == names
    scan = read_volume(two_classes / "images" / "case_0.nii.gz")
    case = Case("case", scan.array, scan.grid)
    options = PredictOptions.at(point, region=None)
    found = {
        backend: predict_case(case, model.recipe, build_engine(model, backend=backend), options, divisor=model.divisor)
        for backend in ("torch", "onnx")
    }
    assert [finding.label for finding in found["torch"].findings] == names
    assert (found["torch"].mask != found["onnx"].mask).mean() < 1e-3
    metadata = json.loads((tmp_path / "model" / "configs" / "metadata.json").read_text())
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(channels.values()) == (names if regions else ["background", *names])


def test_a_data_set_without_the_labels_is_refused(two_classes, tmp_path, capsys):
    assert main([*words(two_classes, tmp_path), "data.labels={1: nodule, 2: vessel, 255: ignore}"]) == 2
    reported = capsys.readouterr().out
    assert "the data set does not have all labels of the recipe" in reported
    assert "ground_glass, solid" in reported
    assert "1 nodule, 2 vessel, 255 ignore" in reported
