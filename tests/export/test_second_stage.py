"""A second stage in a model folder: written, checked, read back and run by PyTorch as by ONNX Runtime."""

import json
import pickle

import pytest
import torch

from segpipe.errors import ModelError
from segpipe.export import second_stage as module
from segpipe.export.model_folder import ModelFolder, read_model_folder
from segpipe.export.second_stage import (
    STAGE_WEIGHTS,
    load_stage,
    mean_of_stages,
    open_stage_onnx,
    write_stage,
)
from segpipe.export.writing import checksum
from segpipe.inference.engines.backends import build_engine
from tests.samples.small_models import POINT, small_stage, write_small

SPEC = small_stage().spec
CROPS, PEAKS = torch.rand(3, 2, 8, 8, 6), torch.tensor([0.1, 0.5, 0.9])


@pytest.fixture
def folder(tmp_path, without_onnx) -> ModelFolder:
    """A model folder with a second stage; its ONNX files are empty."""
    return write_small(
        tmp_path / "model", operating_point={**POINT, "min_probability": 0.3}, second_stage=small_stage()
    )


@pytest.mark.slow
def test_onnx_runtime_computes_the_same_for_any_number_of_candidates(tmp_path):
    (tmp_path / "models").mkdir()
    facts = write_stage(tmp_path, small_stage())
    assert facts["onnx"]["parity"] < 1e-5
    run = open_stage_onnx(tmp_path)
    with torch.inference_mode():
        for count in (1, 3):
            expected = small_stage().network(CROPS[:count], PEAKS[:count])
            assert run(CROPS[:count], PEAKS[:count]).numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_folder_says_what_its_second_stage_is_and_gives_it_back(folder):
    assert folder.second_stage == SPEC
    engine = build_engine(folder, backend="torch", device="cpu")
    assert engine.second_stage.crop == SPEC.crop
    with torch.inference_mode():
        assert torch.equal(engine.second_stage.classify(CROPS, PEAKS), small_stage().network(CROPS, PEAKS))
    index = json.loads((folder.path / "segpipe.json").read_text())
    assert index["second_stage"]["layers"] == {"channels": [4], "dropout": 0.1}
    assert "## Second stage" in (folder.path / "docs" / "README.md").read_text()


def test_a_folder_without_one_says_nothing_of_it(tmp_path, without_onnx):
    plain = write_small(tmp_path / "model")
    assert plain.second_stage is None
    assert build_engine(plain, backend="torch", device="cpu").second_stage is None
    assert "second_stage" not in json.loads((plain.path / "segpipe.json").read_text())
    assert "econd stage" not in (plain.path / "docs" / "README.md").read_text()


def test_other_tools_do_not_compare_with_a_confidence_that_they_do_not_have(folder, tmp_path):
    assert folder.operating_point["min_probability"] == 0.3
    assert "0.3" not in (folder.path / "configs" / "inference.json").read_text()
    alone = write_small(tmp_path / "alone", operating_point={**POINT, "min_probability": 0.3})
    assert "0.3" in (alone.path / "configs" / "inference.json").read_text()


def test_it_travels_between_processes():
    sent = pickle.loads(pickle.dumps(small_stage()))
    assert sent.spec == SPEC
    with torch.inference_mode():
        assert torch.equal(sent.network(CROPS, PEAKS), small_stage().network(CROPS, PEAKS))


def test_several_give_their_mean():
    several = mean_of_stages([small_stage(0), small_stage(1)])
    assert several.spec.members == 2
    with torch.inference_mode():
        mean = (small_stage(0).network(CROPS, PEAKS) + small_stage(1).network(CROPS, PEAKS)) / 2
        assert several.network(CROPS, PEAKS).numpy() == pytest.approx(mean.numpy(), abs=1e-6)


def change(folder: ModelFolder, **second_stage: object) -> None:
    """Changes what the index says of the second stage, with a checksum that fits."""
    file = folder.path / "segpipe.json"
    index = json.loads(file.read_text())
    index["second_stage"] |= second_stage
    file.write_text(json.dumps({**index, "checksum": checksum(index)}))


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"crop": {"sides": [8, 8, 999], "spacing_mm": [1, 1, 1], "window_hu": [0, 1]}}, "second_stage.crop.sides"),
        ({"layers": {"channels": [5], "dropout": 0.0}}, "second_stage.layers.channels"),
        ({"members": 1000}, "second_stage.members=1000"),
    ],
)
def test_what_cannot_be_is_refused(folder, changed, found):
    change(folder, **changed)
    with pytest.raises(ModelError, match="the second stage is not valid") as caught:
        read_model_folder(folder.path)
    assert found in caught.value.facts["1"]


def test_weights_must_fit_and_be_listed(folder):
    change(folder, layers={"channels": [8], "dropout": 0.0})
    opened = read_model_folder(folder.path)
    with pytest.raises(ModelError, match="the weights do not fit the second stage"):
        load_stage(opened.path, opened.second_stage)
    file = folder.path / "segpipe.json"
    index = json.loads(file.read_text())
    del index["files"][STAGE_WEIGHTS]
    (folder.path / STAGE_WEIGHTS).unlink()
    file.write_text(json.dumps({**index, "checksum": checksum(index)}))
    with pytest.raises(ModelError, match="lists no such file"):
        read_model_folder(folder.path)


def test_an_onnx_model_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(module, "open_stage_onnx", lambda folder: lambda crops, peaks: peaks + 1)
    with pytest.raises(ModelError, match="must compute what the second stage does"):
        write_stage(tmp_path, small_stage())
