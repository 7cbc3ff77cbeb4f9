"""A series is written as the PACS gives it, while it arrives, and no more than it may have."""

from io import BytesIO

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segpipe.errors import ServiceError
from segpipe.io.pacs.dicomweb import fetching
from segpipe.io.pacs.dicomweb.pacs import Pacs
from segpipe.io.pacs.errors import PacsFaultError
from tests.peers.fake_pacs import gives
from tests.samples.synthetic_dicom import ct_slices, thorax


def fetch(pacs, folder):
    return Pacs(pacs.dicomweb).fetch("1.2", "3.4", folder=folder / "series")


def test_a_series_is_fetched_as_it_is(pacs, tmp_path, files):
    pacs.respond = gives("3.4", files)
    assert fetch(pacs, tmp_path) == 9
    assert sorted(path.read_bytes() for path in (tmp_path / "series").iterdir()) == sorted(files)


def test_a_single_instance_without_parts(pacs, tmp_path, files):
    pacs.respond = lambda method, path, body: (
        gives("3.4", files[:1])(method, path, body)
        if "/series?" in path
        else (200, files[0], {"Content-Type": "application/dicom"})
    )
    assert fetch(pacs, tmp_path) == 1


@pytest.mark.parametrize(
    ("listed", "kept", "message"), [(10, 9, "in part"), (4, 9, "more than is taken"), (0, 0, "in part")]
)
def test_a_series_that_is_not_what_is_listed(pacs, tmp_path, files, listed, kept, message):
    pacs.respond = gives("3.4", files[:kept], listed=listed)
    with pytest.raises(PacsFaultError, match=message):
        fetch(pacs, tmp_path)


def test_a_series_that_has_grown_since_it_was_listed(pacs, tmp_path, files):
    pacs.respond = gives("3.4", files, listed=8)
    assert fetch(pacs, tmp_path) == 9


def test_an_instance_of_another_series(pacs, tmp_path, files):
    other = ct_slices(thorax())[0]
    other.save_as(stream := BytesIO(), enforce_file_format=True)
    pacs.respond = gives("3.4", [*files, stream.getvalue()])
    with pytest.raises(PacsFaultError, match="an instance of another series than was asked for"):
        fetch(pacs, tmp_path)


def test_parts_that_are_no_dicom_or_have_no_end(pacs, tmp_path, files):
    for respond in (gives("3.4", [b"abc"]), gives("3.4", [files[0][:100]]), gives("3.4", files, end=False)):
        pacs.respond = respond
        with pytest.raises(PacsFaultError, match="not DICOMweb"):
            fetch(pacs, tmp_path)


def test_an_instance_that_is_too_large(pacs, tmp_path, files, monkeypatch):
    monkeypatch.setattr(fetching, "INSTANCE_BYTES", len(files[0]) - 1)
    pacs.respond = gives("3.4", files)
    with pytest.raises(PacsFaultError, match="more than is taken") as caught:
        fetch(pacs, tmp_path)
    assert f"{len(files[0]) - 1} bytes in a part" in str(caught.value)


def test_a_deflated_instance(pacs, tmp_path, files):
    dataset = pydicom.dcmread(BytesIO(files[0]))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(stream := BytesIO(), enforce_file_format=True)
    pacs.respond = gives("3.4", [stream.getvalue()])
    with pytest.raises(ServiceError, match="deflated form, which is not read"):
        fetch(pacs, tmp_path)
