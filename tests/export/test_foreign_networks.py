"""A network from another package travels as programs and is run without that package; nothing is imported for it."""

import json
import sys

import nibabel
import numpy as np
import pytest
import torch

from segpipe.errors import ModelError
from segpipe.export.bundle import inference_config
from segpipe.export.export_spec import INDEX, PROGRAM, TORCHSCRIPT, Release
from segpipe.export.model_folder import load_network, read_model_folder, write_model_folder
from segpipe.export.writing import checksum
from segpipe.inference.engines.backends import build_engine
from segpipe.networks.ensemble import Ensemble
from segpipe.preprocessing.recipe import Recipe
from tests.export.test_bundle import dice, own_probability, run_bundle, write_scan
from tests.samples.foreign_networks import built, install_nets
from tests.samples.small_models import FACTS, POINT, SCAN, UNET, VOI, example

IMAGES = torch.rand(2, 1, 32, 32, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def package(tmp_path, monkeypatch):
    return install_nets(tmp_path / "site", monkeypatch)


def write(path, spec, network=None, *, recipe=SCAN, point=POINT):
    network = network or built(spec)
    given = {"operating_point": point, "about": FACTS, "example_bcxyz": example()}
    return network, write_model_folder(path, network=network, spec=spec, recipe=recipe, **given)


def forget(package, monkeypatch):
    """From here on the package is not installed."""
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site" not in entry.rsplit("/", 1)[-1]])
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError):
        __import__(package)


def expected(network, images):
    with torch.no_grad():
        return torch.softmax(network(images), 1)[:, 1:]


@pytest.mark.slow
def test_a_network_by_target_is_run_without_its_package(package, tmp_path, monkeypatch):
    spec = {"_target_": f"{package}.nets.TinyNet", "width": 8}
    network, _ = write(tmp_path / "model", spec)
    wanted = expected(network, IMAGES)
    larger = torch.rand(1, 1, 34, 30, 18)
    wanted_larger = expected(network, larger)
    forget(package, monkeypatch)
    folder = read_model_folder(tmp_path / "model")
    assert (folder.exported, folder.divisor, folder.fixed_shape) == (True, (2, 2, 2), None)
    engine = build_engine(folder)
    assert engine.name.startswith("onnxruntime")
    torch.testing.assert_close(engine(IMAGES), wanted, atol=1e-4, rtol=0)
    torch.testing.assert_close(engine(larger), wanted_larger, atol=1e-4, rtol=0)
    assert not (tmp_path / "model" / TORCHSCRIPT).exists()
    with pytest.raises(ModelError, match="is run by ONNX Runtime"):
        build_engine(folder, backend="torch")


@pytest.mark.slow
def test_the_exported_program_is_the_network_too(package, tmp_path, monkeypatch):
    network, _ = write(tmp_path / "model", {"name": "tiny", "width": 8})
    wanted = network(IMAGES)
    forget(package, monkeypatch)
    torch.testing.assert_close(torch.export.load(tmp_path / "model" / PROGRAM).module()(IMAGES), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["OneSize", "Branching"])
def test_a_network_without_a_rule_for_sizes_takes_windows_of_the_patch(package, tmp_path, monkeypatch, kind):
    spec = {"_target_": f"{package}.nets.{kind}", **({"size": [32, 32, 16]} if kind == "OneSize" else {})}
    network, folder = write(tmp_path / "model", spec)
    assert folder.fixed_shape == (32, 32, 16)
    torch.testing.assert_close(build_engine(folder)(IMAGES), expected(network, IMAGES), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_an_ensemble_of_foreign_networks_is_one_program(package, tmp_path, monkeypatch):
    member = {"_target_": f"{package}.nets.TinyNet"}
    first, second = built(member), built(member)
    for parameter in second.parameters():
        parameter.data.mul_(-1.5)
    network = Ensemble([first, second]).eval()
    _, folder = write(tmp_path / "model", {"name": "ensemble", "members": 2, "member": member}, network)
    mean = (expected(first, IMAGES) + expected(second, IMAGES)) / 2
    torch.testing.assert_close(build_engine(folder)(IMAGES), mean, atol=1e-4, rtol=0)
    again = load_network(folder, {"name": "ensemble", "members": 2, "member": member})
    assert torch.equal(again(IMAGES), network(IMAGES))


@pytest.mark.parametrize(
    "network",
    [
        {"_target_": "os.system", "command": "touch /tmp/x"},
        {"name": "tiny", "width": 4},
        {"name": "ensemble", "members": 1, "member": {"_target_": "os.system", "command": "x"}},
        {"name": "ensemble", "members": 1, "member": {"name": "exported"}},
        {"name": "exported"},
    ],
)
def test_nothing_is_imported_because_a_model_folder_names_it(package, untrained_model, tmp_path, network):
    import shutil

    folder = shutil.copytree(untrained_model, tmp_path / "model")
    index = json.loads((folder / INDEX).read_text())
    index = {**index, "network": network, "divisor": [0, 1, 1] if network == {"name": "exported"} else [2, 2, 2]}
    (folder / INDEX).write_text(json.dumps({**index, "checksum": checksum(index)}))
    with pytest.raises(ModelError, match=r"a network that is not known|is not valid"):
        read_model_folder(folder)
    assert package not in sys.modules


def test_a_bundle_of_a_foreign_network_opens_the_program(package):
    spec = {"_target_": f"{package}.nets.OneSize", "size": [32, 32, 8]}
    content = inference_config(Release(built(spec), spec, VOI, POINT, {}))
    assert PROGRAM in content["network_def"]
    assert "$import torch.export.passes" in content["imports"]
    assert content["inferer"]["_target_"] == "SlidingWindowInferer"
    assert PROGRAM not in json.dumps(inference_config(Release(built(UNET), UNET, VOI, POINT, {})))


@pytest.mark.slow
def test_monai_runs_the_bundle_of_a_foreign_network_without_segpipe_and_without_its_package(package, tmp_path):
    spec = {"_target_": f"{package}.nets.TinyNet", "width": 8}
    recipe = Recipe(**{**SCAN.to_dict(), "patch": (40, 32, 16)})
    file = tmp_path / "scans" / "case_1.nii.gz"
    write_scan(file)
    probability = own_probability(built(spec), recipe, file, flips=[()])
    point = {**POINT, "threshold": float(np.quantile(probability, 0.8))}
    write(tmp_path / "model", spec, recipe=recipe, point=point)
    run_bundle(tmp_path / "model", file.parent, tmp_path / "masks", tmp_path / "elsewhere")
    found = np.asarray(nibabel.load(tmp_path / "masks" / "case_1_mask.nii.gz").dataobj)
    assert dice(found > 0, probability >= point["threshold"]) > 0.98
