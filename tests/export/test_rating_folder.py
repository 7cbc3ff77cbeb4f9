"""A rating model's folder: read back whole, run by ONNX Runtime alike, and refused when anything in it was changed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from segpipe.errors import ModelError
from segpipe.export.model_folder import read_model_folder
from segpipe.export.rating_card import COLUMNS
from segpipe.export.rating_folder import (
    RatingLayers,
    RatingModel,
    build_rating_network,
    open_rating_onnx,
    read_rating_folder,
    write_rating_folder,
)
from segpipe.export.writing import checksum
from segpipe.labels.ratings import RATING_SCALES
from segpipe.preprocessing.rating_crop import RatingCrop

pytestmark = pytest.mark.slow  # one export to ONNX
CROP = RatingCrop(side=8, spacing_mm=2.0, window_hu=(-1000.0, 600.0), margin_mm=2.0)
LAYERS = RatingLayers(channels=[4], hidden=4, dropout=0.1)
SCALES = (RATING_SCALES["malignancy"], RATING_SCALES["calcification"])
FIGURES = {"mean": 0.5, "ci95": [0.25, 0.75]}
ABOUT = {
    "data": "lidc",
    "figures": {"malignancy": dict.fromkeys(COLUMNS, FIGURES)},
}


@pytest.fixture(scope="module")
def model() -> RatingModel:
    torch.manual_seed(0)
    measurements = ("size", "density")
    network = build_rating_network(SCALES, measurements, LAYERS).eval()
    return RatingModel(network, SCALES, measurements, CROP, LAYERS, ABOUT)


@pytest.fixture(scope="module")
def written(model, tmp_path_factory) -> Path:
    return write_rating_folder(tmp_path_factory.mktemp("ratings") / "model", model)


@pytest.fixture
def copied(written, tmp_path) -> Path:
    return shutil.copytree(written, tmp_path / "model")


def change(folder: Path, **changes) -> None:
    """Changes the index as somebody would who knows the format."""
    index = {**json.loads((folder / "segpipe.json").read_text()), **changes}
    (folder / "segpipe.json").write_text(json.dumps({**index, "checksum": checksum(index)}))


def test_what_was_written_is_read(model, written):
    read = read_rating_folder(written)
    assert (read.scales, read.measurements, read.crop, read.layers) == (SCALES, model.measurements, CROP, LAYERS)
    crops, rows = torch.rand(4, 2, 8, 8, 8), torch.rand(4, 2)
    with torch.no_grad():
        expected = model.network(crops, rows)
        torch.testing.assert_close(read.network(crops, rows), expected, rtol=0, atol=0)
    torch.testing.assert_close(open_rating_onnx(written / "models/model.onnx")(crops, rows), expected)
    assert b".py" not in (written / "models/model.onnx").read_bytes()  # nothing of the machine that wrote it


def test_the_card_names_grades_and_figures(written):
    card = (written / "docs/README.md").read_text()
    assert "| calcification | 0 absent, 1 present |" in card
    assert "| malignancy | 0.500 (0.250 to 0.750) |" in card
    assert "no diagnosis" in card


def test_it_is_no_model_that_segments(written):
    with pytest.raises(ModelError, match="the model folder has another format"):
        read_model_folder(written)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratings": ["malignancy", "fate"]}, "the model predicts a rating that is not known"),
        ({"ratings": ["malignancy"]}, "the weights do not fit the network"),
        ({"layers": {"channels": [4], "hidden": 10**9, "dropout": 0.1}}, "segpipe.json is not valid"),
        ({"crop": {"side": 8}}, "segpipe.json is not valid"),
        ({"format": "segpipe-model-1"}, "the model folder has another format"),
    ],
)
def test_a_changed_index_is_refused(copied, changes, message):
    change(copied, **changes)
    with pytest.raises(ModelError, match=message):
        read_rating_folder(copied)


def test_a_changed_file_is_refused(copied):
    (copied / "docs/README.md").write_text("nothing to see")
    with pytest.raises(ModelError, match="a file of the model folder was changed"):
        read_rating_folder(copied)


def test_weights_are_never_unpickled(copied):
    weights = copied / "models/model.safetensors"
    weights.write_bytes(b"\x80\x04N.")
    files = json.loads((copied / "segpipe.json").read_text())["files"]
    change(copied, files={**files, "models/model.safetensors": hashlib.sha256(weights.read_bytes()).hexdigest()})
    with pytest.raises(ModelError, match="the weights do not fit the network"):
        read_rating_folder(copied)
