"""Decathlon tasks and nnU-Net data sets keep their labels, test cases and folds, and can be fetched and resumed."""

import hashlib
import http.server
import json
import tarfile
import threading

import numpy as np
import pytest
from monai.apps import DecathlonDataset

from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.download import download
from segpipe.datasets.sources.registry import SOURCES
from segpipe.errors import ConfigError, DatasetError, LabelError, OutputError, ServiceError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import read_volume, write_volume

GRID = Grid((8, 7, 6), np.diag([0.8, 0.8, 1.25, 1.0]))
MSD = {"name": "Lung", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "cancer"}, "numTraining": 3}
NNUNET = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "nodule": 1}, "file_ending": ".nii.gz"}


def _task(root, description, *, cases=("lung_001", "lung_002", "lung_003"), channel="", test=(), values=(0, 1)):
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(description))
    rng = np.random.default_rng(0)
    for folder, names in (("Tr", cases), ("Ts", test)):
        for name in names:
            image = rng.integers(-1000, 300, GRID.shape).astype(np.int16)
            write_volume(root / f"images{folder}" / f"{name}{channel}.nii.gz", image, GRID)
            mask = rng.choice(values, GRID.shape).astype(np.uint8)
            write_volume(root / f"labels{folder}" / f"{name}.nii.gz", mask, GRID)
    return root


def _ingest(tmp_path, kind, source=None, **options):
    given = {flag.name: flag.default for flag in SOURCES[kind].flags} | options
    return SOURCES[kind].read(IngestRequest(tmp_path / "data", source, workers=0, options=given))


def test_a_task_is_referred_to_in_place_with_its_labels(tmp_path):
    root = _task(tmp_path / "Task06_Lung", MSD)
    (root / "imagesTr" / "._lung_001.nii.gz").write_bytes(b"what macOS adds")

    manifest, made = _ingest(tmp_path, "msd", tmp_path)

    assert manifest.labels == {1: "cancer"}
    assert [entry.id for entry in manifest.entries] == ["lung_001", "lung_002", "lung_003"]
    assert manifest.entries[0].image == root / "imagesTr" / "lung_001.nii.gz"
    assert {entry.split for entry in manifest.entries} == {None}
    assert made.errors == ()


def test_a_task_can_be_copied(tmp_path):
    root = _task(tmp_path / "Task06_Lung", MSD)

    manifest, _ = _ingest(tmp_path, "msd", root, copy=True)

    assert manifest.entries[0].image == tmp_path / "data" / "images" / "lung_001.nii.gz"
    assert read_volume(manifest.entries[0].image).array.dtype == np.int16


def test_test_scans_without_mask_are_reported(tmp_path):
    root = _task(tmp_path / "Task06_Lung", MSD)
    write_volume(root / "imagesTs" / "lung_004.nii.gz", np.arange(336, dtype=np.int16).reshape(8, 7, 6), GRID)

    assert _ingest(tmp_path, "msd", root)[1].notes == ("left out: a test scan without mask (1)",)


def _tar(tmp_path):
    root = _task(tmp_path / "source" / "Task06_Lung", MSD)
    (root / "._dataset.json").write_text("what macOS adds")
    write_volume(root / "imagesTs" / "lung_004.nii.gz", np.arange(336, dtype=np.int16).reshape(8, 7, 6), GRID)
    with tarfile.open(tmp_path / "Task06_Lung.tar", "w") as tar:
        tar.add(root, "Task06_Lung")
    return tmp_path / "Task06_Lung.tar"


def test_an_archive_is_unpacked_into_the_data_set_and_kept(tmp_path):
    archive = _tar(tmp_path)

    manifest, _ = _ingest(tmp_path, "msd", archive)

    assert manifest.entries[2].image == tmp_path / "data" / "raw" / "Task06_Lung" / "imagesTr" / "lung_003.nii.gz"
    assert archive.is_file()
    assert not list((tmp_path / "data").rglob("._*"))
    assert not (tmp_path / "data" / "raw" / "Task06_Lung" / "imagesTs").exists()
    assert _ingest(tmp_path, "msd", archive)[1].new == 0


class _Server(http.server.ThreadingHTTPServer):
    """Serves one file with ranges; can break off after some bytes, and counts what it sent."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.break_after, self.asked, self.ranges = content, None, [], True

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/Task06_Lung.tar"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        start = int((self.headers["Range"] or "bytes=0-")[6:-1]) if self.server.ranges else 0
        self.server.asked.append(start)
        rest = self.server.content[start:]
        if not rest:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.break_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    content = _tar(tmp_path).read_bytes()
    with _Server(content) as running:
        monkeypatch.setitem(DecathlonDataset.resource, "Task06_Lung", running.url)
        monkeypatch.setitem(DecathlonDataset.md5, "Task06_Lung", hashlib.md5(content).hexdigest())
        yield running


def test_a_task_is_fetched_once(tmp_path, server):
    manifest, made = _ingest(tmp_path, "msd", download="Task06_Lung")

    assert len(manifest.entries) == made.new == 3
    assert not list((tmp_path / "data").rglob("*.tar"))
    assert _ingest(tmp_path, "msd", download="Task06_Lung")[1].new == 0
    assert server.asked == [0]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(tmp_path, server):
    server.break_after = 5000
    with pytest.raises(ServiceError, match="the download did not work") as caught:
        _ingest(tmp_path, "msd", download="Task06_Lung")
    assert caught.value.facts["kept"] == "5000 bytes"
    assert "call again" in caught.value.hint

    server.break_after = None
    manifest, _ = _ingest(tmp_path, "msd", download="Task06_Lung")

    assert len(manifest.entries) == 3
    assert server.asked == [0, 5000]


def test_a_server_without_ranges_starts_over(tmp_path, server):
    (tmp_path / "file.part").write_bytes(b"first bytes")
    server.ranges = False

    assert download(server.url, tmp_path / "file", md5=hashlib.md5(server.content).hexdigest()).is_file()


def test_a_part_that_was_whole_is_taken(tmp_path, server):
    (tmp_path / "file.part").write_bytes(server.content)

    download(server.url, tmp_path / "file", md5=hashlib.md5(server.content).hexdigest())

    assert (tmp_path / "file").read_bytes() == server.content


def test_a_wrong_checksum_is_reported_and_nothing_is_kept(tmp_path, server):
    with pytest.raises(ServiceError, match="another checksum") as caught:
        download(server.url, tmp_path / "file", md5="0" * 32)

    assert caught.value.facts["MD5 wanted"] == "0" * 32
    assert not list(tmp_path.glob("file*"))


def test_no_connection_is_reported_with_a_way_out(tmp_path, server):
    url = server.url
    server.shutdown()
    server.server_close()

    with pytest.raises(ServiceError, match="the download did not work") as caught:
        download(url, tmp_path / "file", md5="0" * 32)

    assert "--input" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_reported(tmp_path, server):
    (tmp_path / "blocked").write_text("a file")

    with pytest.raises(OutputError, match="cannot be written"):
        download(server.url, tmp_path / "blocked" / "file", md5="0" * 32)


@pytest.mark.parametrize(
    ("options", "message"), [({}, "--input or --download"), ({"download": "Task99_Nothing"}, "unknown task")]
)
def test_a_request_without_data_is_reported(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        _ingest(tmp_path, "msd", **options)


def test_nnunet_names_and_folds_are_kept(tmp_path):
    root = _task(tmp_path / "Dataset001_Lung", NNUNET, channel="_0000")
    folds = [{"train": ["lung_002", "lung_003"], "val": ["lung_001"]}, {"train": ["lung_001"], "val": ["lung_002"]}]
    (root / "splits_final.json").write_text(json.dumps(folds))

    plain, _ = _ingest(tmp_path, "nnunet", root)
    held_out, _ = _ingest(tmp_path, "nnunet", root, fold=1)

    assert plain.labels == {1: "nodule"}
    assert [(entry.id, entry.split, (entry.extra or {}).get("fold")) for entry in plain.entries] == [
        ("lung_001", None, 0),
        ("lung_002", None, 1),
        ("lung_003", None, None),
    ]
    assert [entry.split for entry in held_out.entries] == ["train", "test", "train"]


def test_nnunet_test_cases_are_held_out_and_a_fold_then_validates(tmp_path):
    root = _task(tmp_path / "Dataset001_Lung", NNUNET, channel="_0000", test=["lung_009"])
    (tmp_path / "splits.json").write_text(json.dumps([{"train": ["lung_002", "lung_003"], "val": ["lung_001"]}]))

    plain, _ = _ingest(tmp_path, "nnunet", root)
    fold, _ = _ingest(tmp_path, "nnunet", root, splits=tmp_path / "splits.json", fold=0)

    assert [entry.split for entry in plain.entries] == ["train", "train", "train", "test"]
    assert [entry.split for entry in fold.entries] == ["val", "train", "train", "test"]


def test_a_fold_that_is_not_there_is_reported(tmp_path):
    root = _task(tmp_path / "Dataset001_Lung", NNUNET)

    with pytest.raises(ConfigError, match="--fold must be one of the folds"):
        _ingest(tmp_path, "nnunet", root, fold=0)


@pytest.mark.parametrize("content", ["[", '[{"train": []}]', "[" * 100_000, "5"])
def test_damaged_splits_are_reported(tmp_path, content):
    root = _task(tmp_path / "Dataset001_Lung", NNUNET)
    (root / "splits_final.json").write_text(content)

    with pytest.raises(DatasetError, match=r"splits_final\.json cannot be read"):
        _ingest(tmp_path, "nnunet", root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_names": {"0": "T1", "1": "T2"}}, "CT as its only channel"),
        ({"channel_names": {"0": "T1"}}, "CT as its only channel"),
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "region-based"),
        ({"labels": {"background": 0, "nodule": 1, "ignore": 2}}, "no ignore label"),
        ({"labels": {"background": 0}}, "foreground labels"),
        ({"labels": None}, r"dataset\.json cannot be read"),
        ({"labels": {"nodule": float("inf")}}, r"dataset\.json cannot be read"),
        ({"channel_names": 5}, r"dataset\.json cannot be read"),
    ],
)
def test_data_sets_of_another_kind_are_reported(tmp_path, change, message):
    root = _task(tmp_path / "Dataset001", NNUNET | change)

    with pytest.raises(DatasetError, match=message):
        _ingest(tmp_path, "nnunet", root)


def test_scans_and_masks_that_do_not_pair_are_reported(tmp_path):
    root = _task(tmp_path / "Dataset001_Lung", NNUNET)
    (root / "labelsTr" / "lung_002.nii.gz").unlink()

    with pytest.raises(DatasetError, match="each scan must have a mask") as caught:
        _ingest(tmp_path, "nnunet", root)
    assert caught.value.facts["without the other"] == "1: lung_002"

    with pytest.raises(DatasetError, match=r"dataset\.json cannot be read"):
        _ingest(tmp_path, "nnunet", tmp_path)
    with pytest.raises(DatasetError, match="must be a Decathlon task"):
        _ingest(tmp_path, "msd", root / "imagesTr")


def test_a_second_channel_is_reported(tmp_path):
    root = _task(tmp_path / "Dataset001_Lung", NNUNET, channel="_0001")

    with pytest.raises(DatasetError, match="one channel"):
        _ingest(tmp_path, "nnunet", root)


def test_masks_with_other_values_are_named(tmp_path):
    root = _task(tmp_path / "Dataset001_Lung", NNUNET, values=(0, 1, 2))

    _, made = _ingest(tmp_path, "nnunet", root)

    assert len(made.errors) == 3
    assert isinstance(made.errors[0], LabelError)
