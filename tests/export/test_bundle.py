"""The bundle is run by MONAI in a process that cannot import segpipe, and must do what segpipe's own steps do."""

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from segpipe.errors import SegpipeError
from segpipe.export.bundle import inference_config
from segpipe.export.export_spec import Release
from segpipe.export.model_folder import load_network
from segpipe.export.parity import cut
from segpipe.geometry import Grid
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.lesions import find_components
from segpipe.preprocessing.recipe import Recipe
from segpipe.preprocessing.resampling import normalise, plan_preparation, resample_to_recipe, resample_to_scan
from tests.samples.small_models import POINT, RESNET, SCAN, UNET, VOI, network_of, write_small
from tests.support.processes import run_module

NORMALIZE = {"_target_": "monai.transforms.NormalizeIntensity", "subtrahend": 0.4, "divisor": 0.25}
BLOCKED = """
import sys

for name in [name for name in sys.modules if name.partition(".")[0] == "segpipe"]:
    del sys.modules[name]

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "segpipe":
            raise ImportError("segpipe is not installed here")

sys.meta_path.insert(0, Block())
"""
"""What makes a process unable to import segpipe, at its start or in its middle."""


def config(spec=UNET, *, recipe=SCAN, point=POINT) -> dict[str, object]:
    return inference_config(Release(network_of(spec), spec, recipe, point, {}))


def step(content: dict[str, object], group: str, target: str) -> dict[str, object]:
    return next(item for item in content[group]["transforms"] if item["_target_"] == target)


def test_numbers_are_those_of_the_recipe() -> None:
    recipe = Recipe("r", (0.7, 0.8, 1.25), (-900.0, 300.0), (48, 32, 16), orientation="LPS")
    content = config(recipe=recipe, point={**POINT, "threshold": 0.35})
    assert step(content, "preprocessing", "Spacingd")["pixdim"] == [0.7, 0.8, 1.25]
    assert step(content, "preprocessing", "Orientationd")["axcodes"] == "LPS"
    scale = step(content, "preprocessing", "ScaleIntensityRanged")
    assert (scale["a_min"], scale["a_max"], scale["b_min"], scale["b_max"]) == (-900.0, 300.0, 0.0, 1.0)
    assert content["inferer"]["roi_size"] == [48, 32, 16]
    assert step(content, "postprocessing", "AsDiscreted")["threshold"] == 0.35


def test_windows_overlap_as_where_the_operating_point_was_chosen() -> None:
    assert config(point={**POINT, "overlap": 0.25})["inferer"]["overlap"] == 0.25
    assert config()["inferer"]["overlap"] == 0.5  # of a model that does not say it


def test_probabilities_and_not_masks_are_brought_back() -> None:
    names = [item["_target_"] for item in config()["postprocessing"]["transforms"]]
    assert names.index("Invertd") < names.index("AsDiscreted")
    assert step(config(), "postprocessing", "Invertd")["nearest_interp"] is False


def test_a_voi_is_one_forward_pass() -> None:
    content = config(recipe=VOI)
    assert content["inferer"] == {"_target_": "SimpleInferer"}
    assert step(content, "preprocessing", "DivisiblePadd")["k"] == [2, 2, 2]


def test_views_are_all_subsets_of_the_flips() -> None:
    assert config(point={**POINT, "flips": [0, 2]})["views"] == [[], [2], [4], [2, 4]]
    assert config()["views"] == [[]]


def test_a_network_of_monai_is_named_by_its_class_and_one_of_our_own_by_its_file() -> None:
    assert config()["network_def"]["_target_"] == "monai.networks.nets.UNet"
    assert "models/model.ts" in config(RESNET)["network_def"]


def test_only_bundles_that_clean_need_scipy() -> None:
    def imports(**changes):
        return " ".join(config(**changes)["imports"])

    assert "ndimage" not in imports()
    assert "ndimage" in imports(recipe=VOI)
    assert "ndimage" in imports(point={**POINT, "min_volume_mm3": 5.0})


def write_scan(file: Path) -> None:
    """30×26×9 voxels of 1.2×1.1×2 mm, LPS and tilted by 10°: two balls of tissue in air."""
    turn = np.deg2rad(10)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-1.2, -1.1, 2.0])
    affine[:3, 3] = [20.0, -7.0, 100.0]
    x, y, z = np.meshgrid(np.arange(30), np.arange(26), np.arange(9), indexing="ij")
    image = np.full((30, 26, 9), -850.0)
    for centre, radius in (((16, 13, 4), 6.0), ((4, 4, 1), 3.0)):
        distance = np.sqrt(((x - centre[0]) * 1.2) ** 2 + ((y - centre[1]) * 1.1) ** 2 + ((z - centre[2]) * 2) ** 2)
        image = np.maximum(image, 50 - 900 * np.clip((distance - radius) / 3, 0, 1))
    write_volume(file, image.astype(np.float32), Grid(image.shape, affine))


def own_probability(network: nn.Module, recipe: Recipe, file: Path, *, flips: Sequence[Sequence[int]]) -> np.ndarray:
    """The scan fits one window: prepare, pad, one forward pass for each view, and the way back."""
    scan = read_volume(file)
    preparation = plan_preparation(scan.grid, recipe)
    prepared = normalise(resample_to_recipe(scan.array, preparation), recipe)
    # Of an odd number of missing voxels the larger half is in front.
    padded = cut(prepared.flip(0, 1, 2)[None, None], recipe.patch).flip(2, 3, 4)
    with torch.inference_mode():
        views = [torch.softmax(network(padded.flip(axes)), dim=1).flip(axes)[0, 1] for axes in flips]
    probability = torch.stack(views).mean(0)
    starts = [-((have - want) // 2) for have, want in zip(prepared.shape, recipe.patch, strict=True)]
    inside = tuple(slice(start, start + size) for start, size in zip(starts, prepared.shape, strict=True))
    return resample_to_scan(probability[inside], preparation).numpy()


def run_bundle(model: Path, scans: Path, output: Path, blocker: Path, *, fresh: bool = False) -> None:
    """MONAI runs a bundle without segpipe: in a fork, which starts at once, or in a fresh process."""
    blocker.mkdir()
    words = ["--config_file", str(model / "configs/inference.json"), "--dataset_dir", str(scans)]
    words = ["monai.bundle", "run", *words, "--output_dir", str(output)]
    if not fresh:
        run_module(*words, cwd=blocker, before=partial(exec, BLOCKED, {}))
        return
    (blocker / "sitecustomize.py").write_text(BLOCKED)
    environment = {**os.environ, "PYTHONPATH": str(blocker), "OMP_NUM_THREADS": "1"}
    python = partial(subprocess.run, cwd=blocker, env=environment, capture_output=True, text=True, check=False)
    assert "segpipe is not installed here" in python([sys.executable, "-c", "import segpipe"]).stderr
    done = python([sys.executable, "-m", *words])
    assert done.returncode == 0, done.stderr


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["scan", "voi", "flips"])  # with flips, also the recipe has a transform
def test_monai_runs_it_without_segpipe_and_makes_the_same_mask(case, tmp_path, without_onnx) -> None:
    spec, recipe = (RESNET, VOI) if case == "voi" else (UNET, SCAN)
    transforms = [NORMALIZE] if case == "flips" else None
    recipe = Recipe(**{**recipe.to_dict(), "patch": (40, 32, 16), "transforms": transforms})
    file = tmp_path / "scans" / "case_1.nii.gz"
    write_scan(file)
    flips = [0, 1] if case == "flips" else []
    views = ((), (2,), (3,), (2, 3)) if case == "flips" else ((),)
    probability = own_probability(network_of(spec), recipe, file, flips=views)
    # A threshold that splits the random network's probabilities, and leaves several components.
    threshold = float(np.quantile(probability, 0.8))
    expected = probability >= threshold
    point = {**POINT, "threshold": threshold, "flips": flips}
    components = find_components(expected.astype(np.uint8))
    if case == "voi":
        middle = (np.array(expected.shape) - 1) / 2
        spacing = np.array([1.2, 1.1, 2.0])

        def distance(number: int) -> float:
            return float(np.linalg.norm((components.indices(number) - middle) * spacing, axis=1).min())

        kept = [min(range(1, components.count + 1), key=distance)]
    else:
        least = np.median(components.voxel_counts) * 1.2 * 1.1 * 2.0 * 0.999
        point["min_volume_mm3"] = float(least)
        kept = [n for n, count in enumerate(components.voxel_counts, start=1) if count * 2.64 >= least]
    expected = np.zeros_like(expected)
    for number in kept:
        expected[tuple(components.indices(number).T)] = True

    model = write_small(tmp_path / "model", spec, recipe, operating_point=point)
    run_bundle(model.path, file.parent, tmp_path / "masks", tmp_path / "elsewhere", fresh=case == "scan")
    written = nibabel.load(tmp_path / "masks" / "case_1_mask.nii.gz")
    found = np.asarray(written.dataobj)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(written.affine, read_volume(file).grid.affine, atol=1e-5)
    assert 0 < expected.sum() < expected.size / 2
    assert dice(found > 0, expected) > 0.98


@pytest.mark.slow
@pytest.mark.realdata
def test_real_nodules_get_the_same_mask_as_by_predict(realdata, tmp_path, without_onnx) -> None:
    from segpipe.case import build_case
    from segpipe.inference.engines.engine import TorchEngine
    from segpipe.inference.options import PredictOptions
    from segpipe.inference.predictor import predict_case

    scans = tmp_path / "scans"
    scans.mkdir()
    for file in sorted((realdata / "lidc_nodules" / "images").glob("*.nii.gz"))[:6]:
        (scans / file.name).symlink_to(file)
    recipe = Recipe("ct_nodule_voi", (0.7, 0.7, 1.25), (-1000.0, 400.0), (64, 64, 16), scope="voi")
    model = write_small(tmp_path / "model", RESNET, recipe)
    run_bundle(model.path, scans, tmp_path / "masks", tmp_path / "elsewhere")
    engine = TorchEngine(load_network(model), device="cpu", precision="fp32")
    for file in sorted(scans.iterdir()):
        case = build_case(file.name, read_volume(file))
        try:
            own = predict_case(case, recipe, engine, PredictOptions(), divisor=model.divisor).mask
        except SegpipeError as error:
            pytest.fail(str(error))
        found = np.asarray(nibabel.load(tmp_path / "masks" / file.name.replace(".nii.gz", "_mask.nii.gz")).dataobj)
        assert own.any()
        assert dice(found > 0, own > 0) > 0.95
