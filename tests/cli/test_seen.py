"""`seen` answers for scans and data sets, and an evaluation of cases that a model knows says so."""

import json
import shutil

import pytest

from segpipe.__main__ import main
from segpipe.datasets.manifest import read_manifest, write_manifest
from segpipe.datasets.sources.folders import find_cases
from segpipe.export.seen_cases import SEEN, make_group
from segpipe.io.images.volumes import read_volume
from segpipe.preprocessing.scan_digest import scan_digest
from tests.samples.small_models import FACTS, write_small

COLUMNS = {"table": None, "case_column": "case", "patient_column": "patient"}


@pytest.fixture(scope="module")
def data(tiny_dataset, tmp_path_factory):
    """Four cases of the tiny data set."""
    folder = tmp_path_factory.mktemp("seen") / "data"
    found = find_cases(tiny_dataset, **COLUMNS)
    write_manifest(found.with_entries(found.entries[:4]), folder)
    return folder


@pytest.fixture(scope="module")
def model(data):
    """Knows the first case from training, the second from validation and held out the third."""
    from tests.samples.small_models import without_onnx_export

    digests = [scan_digest(volume.array, volume.grid) for volume in map(read_volume, _images(data))]
    group = make_group({"train": digests[:1], "val": digests[1:2], "test": digests[2:3]})
    with without_onnx_export():
        return write_small(data.parent / "model", about={**FACTS, SEEN: [group]}).path


def _images(data):
    return [entry.image for entry in read_manifest(data).entries]


def _seen(model, path):
    return main(["seen", "--model", str(model), "--input", str(path)])


def test_a_data_set_is_answered_case_by_case(model, data, capsys):
    assert _seen(model, data) == 0
    assert capsys.readouterr().out.splitlines() == [
        "case_0     trained on",
        "case_1  in validation",
        "case_2       held out",
        "case_3     not listed",
        "3 of 4 cases were seen by the model: 1 trained on, 1 in validation, 1 held out",
    ]


def test_a_scan_is_known_whatever_it_is_called(model, data, tmp_path, capsys):
    shutil.copy(_images(data)[0], tmp_path / "other.nii.gz")
    assert _seen(model, tmp_path / "other.nii.gz") == 0
    assert capsys.readouterr().out.splitlines()[0] == "other  trained on"


def test_a_scan_that_cannot_be_read_costs_itself(model, data, tmp_path, capsys):
    shutil.copy(_images(data)[3], tmp_path / "good.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(_images(data)[3].read_bytes()[:900])
    assert _seen(model, tmp_path) == 2
    reported = capsys.readouterr()
    assert "ImageError" in reported.err
    assert reported.out.splitlines()[0] == "good  not listed"
    assert "0 of 1 cases" in reported.out


def test_an_older_model_says_that_it_lists_none(data, tmp_path, capsys, without_onnx):
    older = write_small(tmp_path / "model", about={**FACTS, "segpipe_version": "0.0.1"}).path
    assert _seen(older, data) == 2
    assert "ModelError: the model does not list the cases that it has seen" in capsys.readouterr().err


def test_the_origin_of_the_weights_is_named(data, tmp_path, capsys, without_onnx):
    about = {**FACTS, SEEN: [make_group({})], "init": {"lineage": "a on lidc (0123)"}}
    assert _seen(write_small(tmp_path / "model", about=about).path, data) == 0
    assert "its weights began with a on lidc (0123), whose cases" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "shards"])
def test_an_evaluation_of_cases_that_the_model_knows_says_so(model, data, tmp_path, capsys, sharded):
    words = ["evaluate", "--model", model, "--data", data, "--output", tmp_path, "--backend", "torch"]
    calls = [[*words, "--shard", "1/2"], [*words, "--shard", "2/2"], ["merge", tmp_path]] if sharded else [words]
    assert [main(list(map(str, call))) for call in calls] == [0] * len(calls)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary[SEEN] == {"train": 1, "val": 1, "test": 1, "of": 4}
    warning = "WARNING: of these 4 cases the model was trained on 1 and given 1 in validation; their figures say little"
    assert warning in capsys.readouterr().out
    assert f"<strong>{warning}" in (tmp_path / "report.html").read_text(encoding="utf-8")
