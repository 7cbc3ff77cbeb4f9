import hashlib
import json
import pickle
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from segpipe.errors import ModelError, OutputError
from segpipe.export import writing
from segpipe.export.model_folder import load_network, predict_command, read_model_folder, write_model_folder
from segpipe.export.writing import checksum
from tests.samples.small_models import FACTS, POINT, SCAN, UNET, example, network_of, write_small

pytestmark = pytest.mark.slow
FILES = [
    "LICENSE",
    "configs/inference.json",
    "configs/metadata.json",
    "docs/README.md",
    "models/model.onnx",
    "models/model.pt",
    "models/model.safetensors",
]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_small(tmp_path_factory.mktemp("export") / "model").path


@pytest.fixture
def copied(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "model")


def change_index(folder: Path, **changes) -> None:
    """Changes the index as somebody would who knows the format: with a fitting checksum."""
    index = {**json.loads((folder / "segpipe.json").read_text()), **changes}
    index["checksum"] = checksum(index)
    (folder / "segpipe.json").write_text(json.dumps(index))


def replace_weights(folder: Path, state: dict[str, torch.Tensor]) -> None:
    save_file(state, folder / "models/model.safetensors")
    index = json.loads((folder / "segpipe.json").read_text())
    digest = hashlib.sha256((folder / "models/model.safetensors").read_bytes()).hexdigest()
    change_index(folder, files={**index["files"], "models/model.safetensors": digest})


def test_what_was_written_is_read(written) -> None:
    model = read_model_folder(written)
    assert model.recipe == SCAN
    assert model.network == UNET
    assert model.divisor == (2, 2, 2)
    assert model.operating_point == POINT
    assert model.about == FACTS
    assert model.fixed_shape is None
    assert model.weights == written / "models/model.safetensors"
    assert model.onnx == written / "models/model.onnx"


def test_the_network_comes_back_with_its_weights(written) -> None:
    network = load_network(read_model_folder(written))
    assert not network.training
    with torch.inference_mode():
        torch.testing.assert_close(network(example()), network_of(UNET)(example()))


def test_the_index_lists_every_file_with_its_digest(written) -> None:
    index = json.loads((written / "segpipe.json").read_text())
    found = sorted(file.relative_to(written).as_posix() for file in written.rglob("*") if file.is_file())
    assert sorted(index["files"]) == FILES
    assert found == sorted([*FILES, "segpipe.json"])
    for name, digest in index["files"].items():
        assert hashlib.sha256((written / name).read_bytes()).hexdigest() == digest
    assert index["labels"][0]["type"] == {"scheme": "SCT", "value": "27925004", "meaning": "Nodule"}
    assert index["onnx"]["parity"]["largest"] <= 1e-3
    assert len(index["onnx"]["parity"]["shapes"]) == 2
    assert set(index["versions"]) >= {"torch", "monai", "onnxruntime"}


def test_nothing_is_unpickled(written, monkeypatch) -> None:
    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for module, name in ((torch, "load"), (pickle, "load"), (pickle, "loads"), (pickle, "Unpickler")):
        monkeypatch.setattr(module, name, refuse)
    assert not load_network(read_model_folder(written)).training


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_noticed(name, copied) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ModelError, match="was changed") as caught:
        read_model_folder(copied)
    assert caught.value.facts["file"] == copied / name


def test_all_damaged_files_are_reported_together(copied) -> None:
    (copied / "LICENSE").write_text("mine")
    (copied / "models/model.onnx").unlink()
    with pytest.raises(ModelError, match="damaged") as caught:
        read_model_folder(copied)
    assert "LICENSE" in str(caught.value)
    assert "model.onnx" in str(caught.value)


def test_a_changed_index_is_noticed(copied) -> None:
    text = (copied / "segpipe.json").read_text()
    (copied / "segpipe.json").write_text(text.replace('"threshold": 0.5', '"threshold": 0.1'))
    with pytest.raises(ModelError, match="was changed") as caught:
        read_model_folder(copied)
    assert caught.value.facts["file"] == copied / "segpipe.json"


def test_a_recipe_of_another_digest_is_refused(copied) -> None:
    index = json.loads((copied / "segpipe.json").read_text())
    change_index(copied, recipe={**index["recipe"], "spacing_mm": [2.0, 2.0, 2.0]})
    with pytest.raises(ModelError, match="does not have the digest"):
        read_model_folder(copied)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "models/../../secret"])
def test_files_outside_are_refused(name, copied) -> None:
    index = json.loads((copied / "segpipe.json").read_text())
    change_index(copied, files={**index["files"], name: "0" * 64})
    with pytest.raises(ModelError, match="must lie inside"):
        read_model_folder(copied)


def test_weights_that_are_not_listed_are_refused(copied) -> None:
    change_index(copied, files={})
    with pytest.raises(ModelError, match="lists no such file"):
        read_model_folder(copied)


@pytest.mark.parametrize("spec", [{"name": "os.system"}, {"name": "unet"}, {"name": "unet", "strides": "2"}])
def test_a_network_outside_the_closed_list_is_refused(spec, copied) -> None:
    change_index(copied, network=spec)
    with pytest.raises(ModelError, match="network that is not known"):
        read_model_folder(copied)


def test_weights_of_another_network_are_refused(copied) -> None:
    state = load_file(copied / "models/model.safetensors")
    replace_weights(copied, {name: tensor.repeat(2) for name, tensor in state.items() if tensor.ndim == 1})
    with pytest.raises(ModelError, match="do not fit the network"):
        load_network(read_model_folder(copied))


def test_other_folders_and_formats_are_refused(copied, tmp_path) -> None:
    with pytest.raises(ModelError, match="a model folder must hold"):
        read_model_folder(tmp_path)
    change_index(copied, format="segpipe-model-99")
    with pytest.raises(ModelError, match="another format") as caught:
        read_model_folder(copied)
    assert caught.value.facts["found"] == "segpipe-model-99"
    (copied / "segpipe.json").write_text(json.dumps({"format": "segpipe-model-1"}))
    with pytest.raises(ModelError, match="was changed"):
        read_model_folder(copied)
    (copied / "segpipe.json").write_text("{")
    with pytest.raises(ModelError, match="not readable JSON"):
        read_model_folder(copied)


def test_a_failed_export_leaves_what_was_there(copied, monkeypatch) -> None:
    def disagree(*args, **kwargs):
        raise ModelError("ONNX Runtime must compute what the network does; the model is not written")

    monkeypatch.setattr(writing, "check_parity", disagree)
    before = (copied / "segpipe.json").read_bytes()
    with pytest.raises(ModelError, match="the model is not written"):
        write_small(copied)
    assert (copied / "segpipe.json").read_bytes() == before
    assert [item.name for item in copied.parent.iterdir()] == ["model"]


def test_a_foreign_folder_is_not_overwritten(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        write_small(tmp_path)


def test_a_network_must_be_the_one_that_its_spec_names(tmp_path) -> None:
    with pytest.raises(ModelError, match="do not fit the network that the configuration names"):
        write_model_folder(
            tmp_path / "model",
            network=network_of(UNET),
            spec={**UNET, "channels": [8, 16]},
            recipe=SCAN,
            operating_point=POINT,
            about={},
            example_bcxyz=example(),
        )


def test_the_command_that_predicts_is_quoted_for_a_shell():
    command = predict_command(Path("my runs/lung (2)/model"))
    assert shlex.split(command)[5] == "my runs/lung (2)/model"
    assert (
        predict_command(Path("runs/model")) == "python -m segpipe predict --model runs/model --input SCAN --output DIR"
    )


def test_files_that_the_index_does_not_list_are_refused_with_their_names(copied) -> None:
    (copied / "configs" / "evaluate.json").write_text("{}")
    (copied / ".hidden").touch()
    (copied / "docs" / "empty").mkdir()
    with pytest.raises(ModelError, match="holds files that it does not list") as caught:
        read_model_folder(copied)
    assert caught.value.facts["found"] == ".hidden, configs/evaluate.json"


def test_a_bundle_file_whose_listing_was_taken_out_is_refused(copied) -> None:
    index = json.loads((copied / "segpipe.json").read_text())
    del index["files"]["configs/inference.json"]
    change_index(copied, files=index["files"])
    with pytest.raises(ModelError, match="holds files that it does not list"):
        read_model_folder(copied)


@pytest.mark.parametrize("listed", [True, False])
def test_links_are_refused_whatever_they_lead_to(copied, tmp_path, listed) -> None:
    file = copied / ("models/model.onnx" if listed else "more")
    if listed:
        file.rename(tmp_path / "model.onnx")
    file.symlink_to(tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="must hold plain files only") as caught:
        read_model_folder(copied)
    assert caught.value.facts["found"] == ("models/model.onnx" if listed else "more")
    assert caught.value.hint == "copy it with its links followed: cp -rL"


@pytest.mark.parametrize("place", ["weights.bin", "../../weights.bin", "/tmp/weights.bin", "*/_ORT_MEM_ADDR_/*"])
def test_an_onnx_model_takes_weights_from_listed_files_alone(copied, place) -> None:
    import onnx

    file = copied / "models" / "model.onnx"
    model = onnx.load(file)
    tensor = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    node = model.graph.node.add(op_type="If", name="inner")
    inside = onnx.helper.make_graph([], "deep", [], [], initializer=[tensor])
    node.attribute.append(onnx.helper.make_attribute("then_branch", inside))
    deep = node.attribute[0].g.initializer[0]
    onnx.external_data_helper.set_external_data(deep, location=place)
    deep.ClearField("raw_data")
    file.write_bytes(model.SerializeToString())
    files = json.loads((copied / "segpipe.json").read_text())["files"]
    files["models/model.onnx"] = hashlib.sha256(file.read_bytes()).hexdigest()
    change_index(copied, files=files)
    with pytest.raises(ModelError, match="takes weights from files that the folder does not list"):
        read_model_folder(copied)
    if place == "weights.bin":
        (copied / "models" / place).write_bytes(tensor.raw_data)
        change_index(copied, files={**files, f"models/{place}": hashlib.sha256(tensor.raw_data).hexdigest()})
        read_model_folder(copied)


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        ({"operating_point": {"threshold": "0.5"}}, "operating_point.threshold=0.5: input should be a valid number"),
        ({"operating_point": {"threshold": 1.0}}, "operating_point.threshold=1.0: input should be less than 1"),
        ({"operating_point": {"flips": [3]}}, "operating_point.flips.0=3: input should be 0, 1 or 2"),
        (
            {"operating_point": {"confidence": {"origin": "x", "voxels": {"temperature": 0}}}},
            "confidence.voxels.temperature",
        ),
        (
            {"operating_point": {"confidence": {"origin": "x", "volume": {"coverage": 0.9, "classes": []}}}},
            "volume.classes",
        ),
        ({"operating_point": {"froc": [{"threshold": 0.5}]}}, "operating_point.froc.0.sensitivity: must be given"),
        ({"operating_point": []}, "operating_point=[]"),
        ({"facts": {"figures": {"metrics": {"dice": 3}}}}, "facts.figures.metrics.dice=3"),
        ({"facts": {"split": []}}, "facts.split=[]"),
        ({"facts": {"data": {"name": "x"}}}, "facts.data="),
        ({"network": {"name": ["unet"]}}, "network.name="),
        ({"network": "unet"}, "network=unet"),
        ({"divisor": [2, 2]}, "divisor="),
        ({"divisor": [2, 2, 10**9]}, "divisor.2=1000000000: input should be less than or equal to 1024"),
        ({"onnx": {"parity": {"largest": 0, "shapes": 3}}}, "onnx.parity.shapes=3"),
        ({"files": {"models/model.onnx": 3}}, "files.models/model.onnx=3"),
    ],
)
def test_an_index_that_says_what_it_cannot_mean_is_refused_with_the_place(copied, changes, mistake) -> None:
    change_index(copied, **changes)
    with pytest.raises(ModelError, match="is not valid") as caught:
        read_model_folder(copied)
    assert mistake in str(caught.value)


@pytest.mark.parametrize("content", ['{"a": ' * 99 + "1" + "}" * 99, '{"format": NaN}', "[1, 2"])
def test_an_index_that_is_no_plain_json_is_refused(copied, content) -> None:
    (copied / "segpipe.json").write_text(content)
    with pytest.raises(ModelError, match="is not readable JSON"):
        read_model_folder(copied)


@pytest.mark.parametrize(
    ("network", "found"),
    [
        ({**UNET, "channels": [400, 800]}, "the network is larger than its weights"),
        ({"name": "ensemble", "members": 64, "member": UNET}, "the network is larger than its weights"),
        ({**UNET, "channels": [10**6, 10**6]}, "the network cannot be built from these values"),
    ],
)
def test_no_network_is_built_that_is_larger_than_its_weights(copied, network, found) -> None:
    change_index(copied, network=network)
    with pytest.raises(ModelError, match="do not fit the network") as caught:
        load_network(read_model_folder(copied))
    assert found in str(caught.value.facts["found"])


@pytest.mark.parametrize(
    "network",
    [{"name": "unet"}, {**UNET, "strides": 3}, {**UNET, "x": 1}, {"name": "ensemble", "members": 65, "member": UNET},
     {"name": "ensemble", "members": 2, "member": {"name": "mypkg.Net"}}, {**UNET, "strides": [4] * 9}],
)  # fmt: skip
def test_keys_of_a_network_are_checked_before_anything_is_built(copied, network) -> None:
    change_index(copied, network=network)
    with pytest.raises(ModelError, match=r"a network that is not known|the network's divisor is too large"):
        read_model_folder(copied)
