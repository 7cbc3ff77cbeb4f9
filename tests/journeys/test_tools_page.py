"""The commands and the program of docs/tools.md do what the page says, word for word."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from segpipe.__main__ import main
from segpipe.export.model_folder import load_network, read_model_folder, write_model_folder
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from tests.samples.small_models import FACTS, POINT, SCAN, UNET, example, network_of
from tests.support.processes import run_module

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "tools.md"


def blocks(language):
    """The code blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that finds bright voxels, so that masks are neither empty nor noise."""
    network = network_of({**UNET, "norm": "batch"})
    image = torch.nn.functional.interpolate(torch.rand(2, 1, 8, 8, 6), (32, 32, 16), mode="trilinear")
    optimizer = torch.optim.Adam(network.train().parameters(), 0.02)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(image), (image[:, 0] > 0.6).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return write_model_folder(
        tmp_path_factory.mktemp("tools") / "model",
        network=network.eval(),
        spec={**UNET, "norm": "batch"},
        recipe=SCAN,
        operating_point=POINT,
        about=FACTS,
        example_bcxyz=example(),
    ).path


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """70×60×30 mm of smooth random HU, axes to the left, to the back and upwards."""
    coarse = torch.rand(1, 1, 9, 8, 5, generator=torch.Generator().manual_seed(3))
    smooth = torch.nn.functional.interpolate(coarse, (70, 60, 15), mode="trilinear", align_corners=True)[0, 0].numpy()
    affine = np.array([[-1.0, 0, 0, 30], [0, -1.0, 0, 20], [0, 0, 2.0, -40], [0, 0, 0, 1]])
    file = tmp_path_factory.mktemp("scans") / "scan.nii.gz"
    return write_volume(file, (smooth * 1400 - 1000).astype(np.int16), Grid(smooth.shape, affine))


@pytest.fixture(scope="module")
def own_mask(model, scan, tmp_path_factory):
    out = tmp_path_factory.mktemp("own")
    words = ["--model", str(model), "--input", str(scan), "--output", str(out), "--output-format", "nifti"]
    assert main(["predict", *words, "--exact", "--search", "everywhere"]) == 0
    return np.asarray(nibabel.load(out / scan.name).dataobj) > 0


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_program_with_plain_onnx_runtime(model, scan, own_mask, tmp_path):
    (program,) = blocks("python")
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    assert "segpipe" not in program
    (tmp_path / "program.py").write_text(program)
    mask = tmp_path / "mask.nii.gz"
    subprocess.run([sys.executable, str(tmp_path / "program.py"), str(model), str(scan), str(mask)], check=True)
    found = nibabel.load(mask)
    np.testing.assert_allclose(found.affine, nibabel.load(scan).affine)
    assert 0.02 < own_mask.mean() < 0.7
    assert dice(np.asarray(found.dataobj) > 0, own_mask) > 0.97


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_the_commands_of_monai(model, scan, own_mask, tmp_path):
    (commands,) = blocks("bash")
    folder = shutil.copytree(model, tmp_path / "model")
    places = {"SCANS": scan.parent, "MASKS": tmp_path / "masks", "OUT": tmp_path / "out"}
    (tmp_path / "out").mkdir()
    for line in commands.strip().splitlines():
        for name, place in places.items():
            line = re.sub(rf"\b{name}\b", str(place), line)
        python, flag, module, *words = line.split()
        assert (python, flag) == ("python", "-m")
        run_module(module, *words, cwd=folder)
    found = np.asarray(nibabel.load(tmp_path / "masks" / "scan_mask.nii.gz").dataobj) > 0
    assert dice(found, own_mask) > 0.97
    exported = torch.jit.load(tmp_path / "out" / "model.ts")
    patch = torch.rand(1, 1, 32, 32, 16)

    with torch.inference_mode():
        torch.testing.assert_close(exported(patch), load_network(read_model_folder(model))(patch), atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")
def test_the_walk_of_monai_label(model, scan, own_mask):
    """Preprocessing, inferer, the bare logits, postprocessing without saving: four keys by their names."""
    from monai.bundle import ConfigParser
    from monai.transforms import SaveImaged

    parser = ConfigParser()
    parser.read_config(model / "configs" / "inference.json")
    parser.config["bundle_root"] = str(model)
    network = parser.get_parsed_content("network_def", instantiate=True)
    network.load_state_dict(torch.load(model / "models" / "model.pt", weights_only=True))
    preparation = parser.get_parsed_content("preprocessing", instantiate=True).transforms
    inferer = parser.get_parsed_content("inferer", instantiate=True)
    finish = parser.get_parsed_content("postprocessing", instantiate=True).transforms
    item = {"image": str(scan)}
    for step in preparation:
        item = step(item)
    with torch.no_grad():
        item["pred"] = inferer(item["image"][None], network.eval())[0]
    for step in finish:
        item = item if isinstance(step, SaveImaged) else step(item)
    assert item["pred"].shape == (1, *own_mask.shape)
    assert dice(item["pred"][0].numpy() > 0, own_mask) > 0.97


def test_files_that_the_page_names_are_there(model):
    named = re.findall(r"`((?:configs|models|docs)/[\w.]+)`", PAGE.read_text())
    lacking = {name for name in named if not (model / name).exists()}
    # only where MONAI lacks the network, and where the network is another package's
    assert lacking == {"models/model.ts", "models/model.pt2"}
