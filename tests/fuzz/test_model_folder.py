"""Mutated model folders: opened or refused with one message, with their checksums as they were or made again."""

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.export.export_spec import INDEX, ONNX, WEIGHTS
from segpipe.export.model_folder import load_network, read_model_folder
from segpipe.export.writing import checksum
from segpipe.inference.engines.engine import OnnxEngine
from segpipe.inference.operating_point import OperatingPointRequest, choose_point
from segpipe.pipelines.model_evaluation import choose_entries
from tests.fuzz.mutations import ODD_VALUES, apply, edits, fuzz, little_memory, places_in, read_or_refuse, with_value

pytestmark = pytest.mark.slow
MANIFEST = Manifest("m", "nifti", (Entry("a", "a", Path("a.nii")),), {1: "nodule"})


@pytest.fixture
def folder(untrained_model, tmp_path):
    return shutil.copytree(untrained_model, tmp_path / "model")


def _seal(folder, index):
    """Makes the checksums again, as somebody who means harm would."""
    for name in (WEIGHTS, ONNX):
        if isinstance(index.get("files"), dict) and name in index["files"]:
            index["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    index["checksum"] = checksum(index)
    (folder / INDEX).write_text(json.dumps(index))


def _open(folder):
    """All that is read of a folder before a scan is predicted with it."""
    opened = read_model_folder(folder)
    for wish in (OperatingPointRequest(), OperatingPointRequest(fp_per_scan=1.0)):
        read_or_refuse(partial(choose_point, opened.operating_point, wish))
    tuple(opened.operating_point.get("flips", ()))
    choose_entries(MANIFEST, "all", opened.about)
    return load_network(opened)


@pytest.mark.parametrize("name", [INDEX, WEIGHTS, ONNX])
def test_a_changed_file_is_found_by_its_checksum(folder, name, capfd):
    valid = (folder / name).read_bytes()

    @fuzz(0.1)
    @given(edits())
    def check(changes):
        changed = apply(changes, valid)
        (folder / name).write_bytes(changed)
        opened = read_or_refuse(lambda: read_model_folder(folder))
        if name != INDEX and changed != valid:
            assert opened is None

    check()
    assert "".join(capfd.readouterr()) == ""


def test_an_index_with_any_value_and_a_right_checksum(folder, capfd):
    valid = json.loads((folder / INDEX).read_text())
    places = sorted(places_in(valid), key=str)

    @fuzz(0.4)
    @given(st.sampled_from(places), st.sampled_from(ODD_VALUES))
    def check(place, value):
        _seal(folder, with_value(valid, place, value))
        read_or_refuse(lambda: _open(folder))

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def test_weights_with_any_bytes_and_a_right_checksum(folder, capfd):
    index, valid = json.loads((folder / INDEX).read_text()), (folder / WEIGHTS).read_bytes()

    @fuzz(0.2)
    @given(edits())
    def check(changes):
        (folder / WEIGHTS).write_bytes(apply(changes, valid))
        _seal(folder, index)
        read_or_refuse(lambda: _open(folder))

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def test_an_onnx_model_with_any_bytes_and_a_right_checksum(folder):
    index, valid = json.loads((folder / INDEX).read_text()), (folder / ONNX).read_bytes()
    patch = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))

    @fuzz(0.1)
    @given(edits("set", "insert", "drop", "cut"))
    def check(changes):
        (folder / ONNX).write_bytes(apply(changes, valid))
        _seal(folder, index)
        opened = read_or_refuse(lambda: read_model_folder(folder))
        engine = read_or_refuse(lambda: OnnxEngine(opened.onnx)) if opened else None
        if engine is not None:
            read_or_refuse(lambda: engine(patch))

    check()
