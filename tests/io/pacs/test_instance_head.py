"""An instance is known by its first bytes, whatever comes further on."""

from io import BytesIO

import pytest

from segpipe.io.pacs.instance_head import read_uids
from segpipe.io.pacs.limits import HEAD_BYTES
from segpipe.io.quiet import quiet_libraries
from tests.samples.synthetic_dicom import ct_slices, set_odd, thorax


def file_of(dataset, tail=b""):
    """A file, with something in front of the UID of its study."""
    with quiet_libraries():
        dataset.save_as(stream := BytesIO(), enforce_file_format=True)
    before, study, after = stream.getvalue().rpartition(b"\x20\x00\x0d\x00UI")
    return BytesIO(before + tail + study + after)


def test_the_uids_of_a_file():
    dataset = ct_slices(thorax())[0]
    uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    assert read_uids(file_of(dataset)) == uids
    assert read_uids(file_of(dataset, TINY * 1000)) == uids


TINY = b"\x09\x00\x01\x10LO\x00\x00"
NESTED = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
"""The beginning of a sequence (DICOM PS3.5, 7.5), which may be in the item of another one."""


@pytest.mark.parametrize("tail", [TINY * HEAD_BYTES, NESTED * 10**4], ids=["tiny elements", "nested sequences"])
def test_no_more_than_the_beginning_is_read(tail):
    file = file_of(ct_slices(thorax())[0], tail)
    with pytest.raises(ValueError, match="not DICOM"):
        read_uids(file)
    assert file.tell() <= HEAD_BYTES


def test_a_file_header_that_does_not_end():
    element = b"\x02\x00\x02\x01UI\x00\x00"
    file = BytesIO(bytes(128) + b"DICM" + element * HEAD_BYTES)
    with pytest.raises(ValueError, match="not DICOM"):
        read_uids(file)
    assert file.tell() <= HEAD_BYTES


@pytest.mark.parametrize("content", [b"", b"abc", bytes(128) + b"DICM", bytes(128) + b"DICM" + NESTED])
def test_what_is_no_instance(content):
    with pytest.raises(ValueError, match="not DICOM"):
        read_uids(BytesIO(content))


@pytest.mark.parametrize("uid", ["", "..", "1..2", "1.2\\1.3", "1.a"])
def test_uids_that_are_none(uid):
    with quiet_libraries():
        (dataset,) = set_odd(ct_slices(thorax())[:1], SeriesInstanceUID=uid)
    with pytest.raises(ValueError, match="no UIDs"):
        read_uids(file_of(dataset))
