import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from segpipe.cli.export import run
from segpipe.errors import ConfigError, ModelError
from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.pipelines.reexport import describe_parity, reexport
from tests.samples.foreign_networks import built, install_nets
from tests.samples.small_models import FACTS, POINT, SCAN, UNET, example, network_of, small_stage, write_small

DATA = {"name": "nifti", "table": None, "case_column": "case", "patient_column": "patient", "cache": None}


@pytest.fixture
def run_folder(tmp_path, tiny_dataset) -> Path:
    """What a training leaves, without its model folder: the last weights are the evaluated ones."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    config = {"evaluation": {"weights": "last"}, "data": {**DATA, "root": str(tiny_dataset)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    reported = {
        "recipe": SCAN.to_dict(),
        "digest": SCAN.digest,
        "network": UNET,
        "labels": {"1": "nodule"},
        "data": "tiny",
    }
    for name, factor in (("last", 1.0), ("best", 2.0)):
        state = {f"network.{key}": factor * value for key, value in network_of(UNET).state_dict().items()}
        checkpoint = {"state_dict": {**state, "current_model.x": torch.zeros(1)}, "segpipe": reported}
        torch.save(checkpoint, folder / "checkpoints" / f"{name}.ckpt")
    return folder


def logits(folder: Path) -> torch.Tensor:
    with torch.inference_mode():
        return load_network(read_model_folder(folder))(example())


@pytest.mark.slow
def test_the_command_writes_the_model_folder_of_a_run(run_folder, tmp_path, capsys) -> None:
    output = tmp_path / "again"
    assert run(["--checkpoint", str(run_folder), "--output", str(output)]) == 0
    text = capsys.readouterr().out
    largest = json.loads((output / "segpipe.json").read_text())["onnx"]["parity"]["largest"]
    assert f"ONNX Runtime and PyTorch differ by {largest:.1e} at most" in text
    assert str(output) in text
    model = read_model_folder(output)
    told = {"evaluation": {"weights": "last"}, "split": {}, "steps": None, "continued": False}
    assert (model.recipe, model.network) == (SCAN, UNET)
    assert model.about == {"data": "tiny", "trained_by": told}
    assert model.operating_point["threshold"] == 0.5
    with torch.inference_mode():
        torch.testing.assert_close(logits(output), network_of(UNET)(example()))


@pytest.mark.slow
def test_figures_and_operating_point_belong_to_the_evaluated_weights(run_folder, tmp_path, without_onnx) -> None:
    point = {**POINT, "threshold": 0.35}
    former = write_small(run_folder / "model", operating_point=point, second_stage=small_stage())
    same = reexport(run_folder, tmp_path / "same")
    assert same.second_stage == former.second_stage == small_stage().spec
    assert same.operating_point["threshold"] == 0.35
    assert same.about == FACTS
    other = reexport(run_folder, tmp_path / "other", weights="best")
    assert (other.operating_point["threshold"], other.second_stage) == (0.5, None)
    assert "figures" not in other.about
    with torch.inference_mode():
        expected = network_of(UNET)
        expected.load_state_dict({key: 2 * value for key, value in expected.state_dict().items()})
        torch.testing.assert_close(logits(other.path), expected(example()))
    assert "differ by" in describe_parity(other)


@pytest.mark.slow
def test_a_moved_data_set_is_replaced_by_a_scan(run_folder, tmp_path, tiny_dataset, without_onnx) -> None:
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    config["data"]["root"] = str(tmp_path / "moved")
    (run_folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="data set cannot be opened") as caught:
        reexport(run_folder, tmp_path / "model")
    assert caught.value.hint == "give a scan with --case FILE"
    scan = next((tiny_dataset / "images").iterdir())
    assert reexport(run_folder, tmp_path / "model", case=scan).path.is_dir()


def test_a_folder_without_a_run_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml of its training"):
        reexport(tmp_path, tmp_path / "model")


def test_a_missing_checkpoint_is_refused(run_folder, tmp_path) -> None:
    shutil.rmtree(run_folder / "checkpoints")
    with pytest.raises(ModelError, match="checkpoint cannot be read"):
        reexport(run_folder, tmp_path / "model")


def test_weights_of_another_network_are_refused(run_folder, tmp_path) -> None:
    file = run_folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["segpipe"]["network"] = {**UNET, "channels": [8, 16]}
    torch.save(checkpoint, file)
    with pytest.raises(ModelError, match="do not fit its network"):
        reexport(run_folder, tmp_path / "model")


@pytest.mark.parametrize("words", [[], ["--checkpoint", "x"], ["--checkpoint", "x", "--output", "y", "--weights", "z"]])
def test_wrong_flags_are_one_message(words) -> None:
    with pytest.raises(ConfigError) as caught:
        run(words)
    assert caught.value.hint == "python -m segpipe export --help"


@pytest.mark.slow
def test_a_network_of_another_package_is_imported_only_when_the_user_names_it(run_folder, tmp_path, monkeypatch):
    spec = {"_target_": f"{install_nets(tmp_path / 'site', monkeypatch)}.nets.TinyNet", "width": 2}
    file = run_folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["segpipe"]["network"] = spec
    checkpoint["state_dict"] = {f"network.{key}": value for key, value in built(spec).state_dict().items()}
    torch.save(checkpoint, file)
    with pytest.raises(ConfigError, match="is imported only if you say so") as caught:
        reexport(run_folder, tmp_path / "again")
    assert caught.value.facts == {"network": spec["_target_"]}
    assert caught.value.hint == f"--trust {spec['_target_']}"
    assert run(["--checkpoint", str(run_folder), "--output", str(tmp_path / "again"), *caught.value.hint.split()]) == 0
    assert read_model_folder(tmp_path / "again").exported


def test_targets_inside_a_network_must_be_trusted_too(run_folder, tmp_path):
    file = run_folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["segpipe"]["network"] = {"_target_": "a.B", "c": [{"d": {"_target_": "os.system", "command": "x"}}]}
    torch.save(checkpoint, file)
    with pytest.raises(ConfigError, match="is imported only if you say so") as caught:
        reexport(run_folder, tmp_path / "again", trusted=["a.B"])
    assert caught.value.facts == {"network": "os.system"}
