"""Bundles of several classes: MONAI decides as segpipe does, and their metadata name every channel."""

from dataclasses import replace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy import ndimage

from segpipe.case import Case
from segpipe.export.bundle import inference_config
from segpipe.export.export_spec import Release
from segpipe.export.metadata import bundle_metadata
from segpipe.inference.engines.backends import build_engine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.inference.options import PredictOptions
from segpipe.inference.predictor import predict_case
from segpipe.inference.window.decision import decide_classes, label_plane
from segpipe.io.images.volumes import read_volume
from segpipe.preprocessing.recipe import Recipe
from tests.export.test_bundle import run_bundle, write_scan
from tests.samples.small_models import FACTS, SCAN, UNET, network_of, write_small

LABELS = {"labels": {1: "core", 2: "rim"}}
RECIPES = {
    "classes": Recipe(**{**SCAN.to_dict(), **LABELS}),
    "regions": Recipe(**{**SCAN.to_dict(), **LABELS, "regions": {"whole": [1, 2], "core": [1]}}),
}
POINTS = {"core": {"threshold": 0.4}, "rim": {"threshold": 0.6}, "whole": {"threshold": 0.3}}


def release(kind: str, points=POINTS, **changes: Any) -> Release:
    recipe = Recipe(**{**RECIPES[kind].to_dict(), **changes})
    return Release(network_of(UNET, recipe.label_map.channels), UNET, recipe, {"classes": points}, FACTS)


def steps(kind: str, **changes: Any) -> list[Any]:
    """The expressions between a network's output and the mask, as functions."""
    content = inference_config(release(kind, **changes))["postprocessing"]["transforms"]
    names = {"torch": torch, "np": np, "ndimage": ndimage}
    return [eval(item["func"][1:], names) for item in content if item["_target_"] == "Lambdad"]


def cleaned(kind: str, probabilities: dict[str, np.ndarray], **changes: Any) -> np.ndarray:
    """The label map that MONAI makes of the probabilities of the classes, on voxels of 1×1×2 mm."""
    labels = RECIPES[kind].label_map.classes
    planes = torch.from_numpy(np.stack([probabilities[label.name] for label in labels]))
    pred = MetaTensor(planes, affine=torch.diag(torch.tensor([1.0, 1.0, 2.0, 1.0])))
    for change in steps(kind, **changes)[1:]:
        pred = change(pred)
    assert isinstance(pred, MetaTensor)
    return pred.numpy()[0]


def blocks(**values: tuple[slice, float]) -> np.ndarray:
    """A row of 24×4×4 voxels, 0.01 but for blocks of 2 voxels across that have a value each."""
    volume = np.full((24, 4, 4), 0.01, dtype=np.float32)
    for place, value in values.values():
        volume[place, :2, :2] = value
    return volume


LARGE, SMALL, FAINT, OTHER = slice(0, 3), slice(5, 6), slice(8, 12), slice(14, 18)
LEAST = {"threshold": 0.5, "min_volume_mm3": 20.0, "min_probability": 0.6}  # 3·2·2·2 are 24 mm³, 1·2·2·2 are 8


def test_components_of_each_class_that_are_no_findings_are_removed() -> None:
    core = blocks(large=(LARGE, 0.9), small=(SMALL, 0.9), faint=(FAINT, 0.55))
    rim = blocks(other=(OTHER, 0.55))
    found = cleaned("classes", {"core": core, "rim": rim}, points={"core": LEAST, "rim": {"threshold": 0.5}})
    expected = np.zeros((24, 4, 4))
    expected[LARGE, :2, :2], expected[OTHER, :2, :2] = 1, 2
    np.testing.assert_array_equal(found, expected)


def test_a_region_is_left_around_a_removed_one_and_goes_with_all_that_is_in_it() -> None:
    whole = blocks(large=(LARGE, 0.9), small=(SMALL, 0.9), other=(OTHER, 0.9))
    core = blocks(small=(SMALL, 0.9), part=(slice(14, 15), 0.9), large=(LARGE, 0.7))
    core[0] = 0.01  # 2·2·2·2 mm³ are left
    points = {"whole": LEAST, "core": {**LEAST, "min_volume_mm3": 12.0}}
    found = cleaned("regions", {"whole": whole, "core": core}, points=points)
    expected = np.zeros((24, 4, 4))
    expected[LARGE, :2, :2], expected[OTHER, :2, :2] = 2, 2  # the value of what is in the whole and not in the core
    expected[1:3, :2, :2] = 1
    np.testing.assert_array_equal(found, expected)


def test_of_a_voi_the_lesion_of_any_class_that_is_nearest_to_the_middle_is_kept() -> None:
    core, rim = blocks(large=(LARGE, 0.9), near=(FAINT, 0.9)), blocks(touching=(slice(12, 13), 0.9), small=(OTHER, 0.9))
    points = {"core": {"threshold": 0.5}, "rim": {"threshold": 0.5}}
    found = cleaned("classes", {"core": core, "rim": rim}, points=points, scope="voi")
    expected = np.zeros((24, 4, 4))
    expected[FAINT, :2, :2], expected[12, :2, :2] = 1, 2
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", RECIPES)
def test_monai_decides_as_segpipe_does(kind) -> None:
    labels = RECIPES[kind].label_map
    probabilities = torch.rand(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    probabilities = probabilities / probabilities.sum(0).clamp_min(1) if labels.exclusive else probabilities
    to_probability, decide = steps(kind)
    thresholds = [POINTS[label.name]["threshold"] for label in labels.classes]
    expected = label_plane(decide_classes(list(probabilities.numpy()), thresholds, labels), labels)
    found = decide(to_probability(MetaTensor(probabilities)))
    assert isinstance(found, MetaTensor)
    assert set(np.unique(expected)) == {0, 1, 2}
    np.testing.assert_array_equal(found.numpy()[0], expected)


@pytest.mark.parametrize("kind", RECIPES)
def test_logits_of_other_tools_become_probabilities(kind) -> None:
    logits = torch.randn(RECIPES[kind].label_map.channels, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    expected = logits.softmax(0)[1:] if kind == "classes" else logits.sigmoid()
    torch.testing.assert_close(steps(kind)[0](logits), expected)


def test_the_metadata_name_every_channel() -> None:
    found = {kind: bundle_metadata(release(kind)) for kind in RECIPES}
    assert found["classes"]["label_classes"] == "single channel, 1 is core, 2 is rim, 0 is background"
    assert found["regions"]["label_classes"] == "single channel, 2 is whole, 1 is core, 0 is background"
    assert found["classes"]["pred_classes"] == "three channels of logits: 0 is background, 1 is core, 2 is rim"
    assert found["regions"]["pred_classes"].endswith("each for a sigmoid of its own: 0 is whole, 1 is core")
    outputs = {kind: content["network_data_format"]["outputs"]["pred"] for kind, content in found.items()}
    assert outputs["classes"]["channel_def"] == {"0": "background", "1": "core", "2": "rim"}
    assert outputs["regions"]["channel_def"] == {"0": "whole", "1": "core"}
    assert [content["num_channels"] for content in outputs.values()] == [3, 2]


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_monai_runs_it_without_segpipe_and_makes_the_same_label_map(kind, tmp_path, without_onnx) -> None:
    file = tmp_path / "scans" / "case_1.nii.gz"
    write_scan(file)
    volume = read_volume(file)
    recipe = RECIPES[kind]
    model = write_small(tmp_path / "probe", UNET, recipe)
    options = PredictOptions(region=None)
    case = Case("case", volume.array, volume.grid)
    probe = predict_case(case, recipe, build_engine(model, device="cpu", exact=True), options, divisor=model.divisor)
    # thresholds that split the random network's probabilities, so that both classes are somewhere
    points = {
        label.name: {"threshold": float(np.quantile(plane, 0.6)), "min_volume_mm3": 30.0}
        for label, plane in zip(recipe.label_map.classes, probe.probabilities, strict=True)
    }
    model = write_small(tmp_path / "model", UNET, recipe, operating_point={"classes": points, "flips": []})
    point = choose_point(model.operating_point, OperatingPointRequest())
    whole = replace(point, classes={name: replace(own, min_volume_mm3=0.0) for name, own in point.classes.items()})
    engine = build_engine(model, device="cpu", exact=True)
    uncleaned, expected = (
        predict_case(
            case, recipe, engine, PredictOptions.at(one, region=None, most_findings=None), divisor=model.divisor
        ).mask
        for one in (whole, point)
    )
    assert (uncleaned != expected).any()
    run_bundle(model.path, file.parent, tmp_path / "masks", tmp_path / "elsewhere")
    found = np.asarray(nibabel.load(tmp_path / "masks" / "case_1_mask.nii.gz").dataobj)
    assert set(np.unique(found)) == {0, 1, 2}
    assert (found == expected).mean() > 0.98
