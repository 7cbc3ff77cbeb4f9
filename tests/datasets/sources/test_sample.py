"""The sample is fetched by pip alone, checked by its digest, and nothing of the archive is ever run."""

import hashlib
import io
import subprocess
import tarfile

import numpy as np
import pytest
import SimpleITK

from segpipe.datasets.sources import sample as sources_sample
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.registry import SOURCES
from segpipe.errors import ServiceError
from segpipe.io.images.volumes import read_volume


def _ingest(tmp_path):
    return SOURCES["sample"].read(IngestRequest(tmp_path / "data", workers=0))


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes packages from, with an archive like the real one whose setup script must not run."""
    folder = tmp_path / "index"
    folder.mkdir()
    with tarfile.open(folder / "pyradiomics-3.0.1.tar.gz", "w:gz") as tar:
        _add(tar, "setup.py", f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()".encode())
        _add(tar, "LICENSE.txt", b"BSD")
        _add(tar, "data/brain1_image.nrrd", b"not wanted")
        for name in ("lung1", "lung2"):
            values = np.arange(4 * 5 * 6).reshape(6, 5, 4)
            _add(tar, f"data/{name}_image.nrrd", _nrrd((values * 10 - 1000).astype(np.int16)))
            _add(tar, f"data/{name}_label.nrrd", _nrrd((values > 100).astype(np.int16)))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    digest = hashlib.sha256((folder / "pyradiomics-3.0.1.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(sources_sample, "SHA256", digest)
    return folder


def _add(tar, name, content):
    info = tarfile.TarInfo(f"pyradiomics-3.0.1/{name}")
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _nrrd(array):
    import tempfile
    from pathlib import Path

    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing((0.6, 0.6, 5.0))
    with tempfile.TemporaryDirectory() as folder:
        SimpleITK.WriteImage(image, f"{folder}/a.nrrd")
        return Path(folder, "a.nrrd").read_bytes()


@pytest.mark.slow
def test_the_sample_is_fetched_once_and_its_licence_reported(tmp_path, index, monkeypatch):
    manifest, made = _ingest(tmp_path)

    assert [entry.id for entry in manifest.entries] == ["lung1", "lung2"]
    assert manifest.labels == {1: "tumour"}
    image = read_volume(manifest.entries[0].image)
    assert image.array.dtype == np.int16
    assert image.array[3, 4, 5] == 119 * 10 - 1000
    assert read_volume(manifest.entries[0].mask).array.sum() == 19
    assert "BSD-3-Clause" in made.notes[0]
    assert (tmp_path / "data" / "raw" / "pyradiomics-3.0.1" / "LICENSE.txt").is_file()
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "data" / "raw" / "pyradiomics-3.0.1" / "data" / "brain1_image.nrrd").exists()

    monkeypatch.setattr(subprocess, "run", None)
    assert _ingest(tmp_path)[1].new == 0


@pytest.mark.slow
def test_an_archive_with_another_digest_is_refused(tmp_path, index, monkeypatch):
    monkeypatch.setattr(sources_sample, "SHA256", "0" * 64)

    with pytest.raises(ServiceError, match="pip could not fetch the sample"):
        _ingest(tmp_path)


@pytest.mark.slow
def test_no_index_is_reported_with_a_way_out(tmp_path, index):
    (index / "pyradiomics-3.0.1.tar.gz").unlink()

    with pytest.raises(ServiceError, match="pip could not fetch the sample") as caught:
        _ingest(tmp_path)

    assert caught.value.facts["found"] == "ERROR: No matching distribution found for pyradiomics==3.0.1"
    assert "--source phantom" in caught.value.hint
