"""From the models of runs to one in the package: small, whole, and the same masks."""

import json
import shutil

import numpy as np
import pytest
import torch

from segpipe.errors import ModelError
from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.export.shipped import find_model
from segpipe.inference.engines.backends import build_engine
from segpipe.networks import build_network
from tests.samples.small_models import UNET, VOI, write_small

WEIGHTS = ("models/model.onnx", "models/model.safetensors")
BATCH_NORM = {**UNET, "norm": "batch", "act": "relu"}


def test_settled_weights_compute_the_same_and_half_precision_holds_them():
    from slim import settle_weights

    torch.manual_seed(0)
    network = build_network(BATCH_NORM, out_channels=2).eval()
    for name, tensor in network.state_dict().items():
        if "running" in name:
            tensor.uniform_(0.5, 1.5)
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        before = network(image)
        settle_weights(network, image)
        torch.testing.assert_close(network(image), before, atol=5e-3, rtol=0)
    state = network.state_dict()
    variances = [tensor for name, tensor in state.items() if name.endswith("running_var")]
    assert variances
    assert all(torch.equal(torch.sqrt(tensor + 1e-5), torch.ones_like(tensor)) for tensor in variances)
    weights = [tensor for tensor in state.values() if tensor.ndim > 1]
    assert weights
    assert all(torch.equal(tensor.half().float(), tensor) for tensor in weights)


@pytest.fixture
def crops(tiny_dataset, tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / "crops" / kind).mkdir(parents=True)
        for number in range(2):
            shutil.copy(tiny_dataset / kind / f"case_{number}.nii.gz", tmp_path / "crops" / kind)
    rows = ["nodule,patient,spacing_mm,diameter_mm,texture,margin", "case_0,a,1x1x2.5,8,5,5", "case_1,b,1x1x1,9,3,2"]
    (tmp_path / "crops" / "nodules.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "crops"


def test_limits_say_what_it_has_learnt_from(crops):
    import bundle

    text = " ".join(bundle.limits(crops / "nodules.csv").split())
    assert "2 nodules of 2 patients, 8 to 9 mm in diameter, in slices of 1 to 2.5 mm. Of them 50% are rated" in text


def fingerprint(noise_hu):
    return {"fingerprint": {"scans": 1, "values": {"noise_hu": [noise_hu]}}}


def write_runs(tmp_path):
    for number in range(2):
        write_small(
            tmp_path / f"fold_{number}" / "model",
            BATCH_NORM,
            VOI,
            about={"experiment": "tiny", "steps": 10 + number, "figures": {}, **fingerprint(10.0 - number)},
        )
        lines = ["case,patient,dice,volume_error_pct", f"case_{number},p{number},0.5,10"]
        (tmp_path / f"fold_{number}" / "evaluation").mkdir()
        (tmp_path / f"fold_{number}" / "evaluation" / "cases.csv").write_text("\n".join(lines) + "\n")
    return [tmp_path / "fold_0", tmp_path / "fold_1"]


@pytest.mark.slow
def test_two_runs_become_one_model_of_the_package(crops, tmp_path, monkeypatch, capsys):
    import bundle

    from tests.samples.small_models import without_onnx_export

    with without_onnx_export():
        runs = write_runs(tmp_path)
    monkeypatch.setattr("segpipe.export.shipped.FOLDER", tmp_path / "models")
    monkeypatch.setattr(bundle, "FOLDER", tmp_path / "models")
    words = [*runs, "--name", "tiny", "--crops", crops, "--count", 2, "--flips", "x"]
    monkeypatch.setattr("sys.argv", ["bundle.py", *map(str, words)])
    bundle.main()
    assert "ONNX Runtime and PyTorch: 0 of 2 masks differ" in capsys.readouterr().out
    model = read_model_folder(find_model("tiny"))
    files = {file.relative_to(model.path).as_posix() for file in model.path.rglob("*") if file.is_file()}
    assert files == {"ATTRIBUTION.md", "LICENSE", "docs/README.md", "segpipe.json", *WEIGHTS}
    assert model.network == {"name": "ensemble", "members": 2, "member": BATCH_NORM}
    shared = {"experiment": "tiny"}
    assert model.about == {**shared, "fingerprint": {"scans": 2, "values": {"noise_hu": [9.0, 10.0]}}}
    assert model.operating_point["flips"] == [0]
    patch = torch.rand(1, 1, 16, 16, 8)
    by_onnx, by_torch = (build_engine(model, backend=name, device="cpu")(patch) for name in ("onnx", "torch"))
    np.testing.assert_allclose(by_onnx, by_torch, atol=5e-2)  # PyTorch may compute in bfloat16
    weights = [tensor for tensor in load_network(model).parameters() if tensor.ndim > 1]
    assert model.weights.stat().st_size < 2 * sum(tensor.numel() for tensor in weights) + 12_000  # names, and the rest
    # the two networks are the same, so ONNX has each weight once
    assert model.onnx.read_bytes().count(b"model.safetensors") == len(weights) / 2


def test_its_card_says_what_it_was_measured_on():
    import bundle

    card = "# a: b\n\nNot a medical device.\n\n## Figures\n\nold\n\n## Limits\n\n- few\n\n## Use\n\nold\n"
    text = bundle.describe(
        card,
        use="    predict --at x,y,z",
        figures="| all |\n",
        limits="- fewer",
        attribution="# Attribution\n\nOf LIDC.\n",
    )
    assert text.startswith("# a: b\n\nNot a medical device.\n")
    assert "## Figures\n\n| all |\n" in text
    assert "## Limits\n\n- few\n- fewer\n" in text
    assert "## Use\n\n    predict --at x,y,z\n" in text
    assert text.endswith("## Attribution\n\nOf LIDC.\n")
    assert "old" not in text


def test_models_that_differ_do_not_become_one(tmp_path, without_onnx):
    import bundle

    one, other = write_small(tmp_path / "a", UNET, VOI), write_small(tmp_path / "b", {**UNET, "channels": [2, 4]}, VOI)
    with pytest.raises(ModelError, match="one recipe and one network"):
        bundle.merge([one, other], None, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_signed_folder_holds_what_it_lists(tmp_path, without_onnx):
    import bundle

    folder = write_small(tmp_path / "a", UNET, VOI).path
    (folder / "ATTRIBUTION.md").write_text("of LIDC")
    with pytest.raises(ModelError):
        read_model_folder(folder)
    bundle.sign(folder)
    assert read_model_folder(folder).recipe == VOI
    assert "ATTRIBUTION.md" in json.loads((folder / "segpipe.json").read_text())["files"]
