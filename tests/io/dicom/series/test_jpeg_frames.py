"""JPEG frames whose head is damaged are refused before GDCM sees them, which ends the process over many."""

import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLosslessSV1

from segpipe.errors import ImageError
from segpipe.io.dicom.series.jpeg_frames import check_jpeg
from segpipe.io.dicom.series.series import find_series, read_series
from tests.samples.compressed_dicom import compress
from tests.samples.synthetic_dicom import ct_slices, save, thorax

SHAPE = (40, 36, 5)
DAMAGE = {
    "no table": lambda frame: frame.replace(b"\xff\xc4", b"\x65\xaf", 1),
    "another table than named": lambda frame: frame.replace(b"\xda\0\x08\x01\x01\0", b"\xda\0\x08\x01\x01\x11"),
    "a longer table": lambda frame: frame[:44] + b"\x41\x43\x8f" + frame[44:],
    "a shorter table": lambda frame: frame[:44] + frame[46:],
    "a value that no difference has": lambda frame: frame[:40] + b"\x3c" + frame[41:],
    "more codes than there are": lambda frame: frame[:20] + b"\x07\0" + frame[22:],
    "other sides": lambda frame: frame[:7] + b"\x13\x9b\xf3\x79" + frame[11:],
    "no predictor": lambda frame: frame.replace(b"\x01\0\x01\0\0", b"\x01\0\x09\0\0", 1),
    "no scan": lambda frame: frame[:44],
    "nothing": lambda frame: b"",
}  # fmt: skip


@pytest.fixture(scope="module")
def slices():
    return [compress(dataset, JPEGLosslessSV1) for dataset in ct_slices(thorax(SHAPE))]


@pytest.fixture(scope="module")
def frame(slices):
    return next(generate_frames(slices[1].PixelData, number_of_frames=1))


def test_a_whole_frame_is_right(frame):
    commented = frame[:2] + b"\xff\xfe\0\4no" + b"\xff\xff" + frame[2:]  # and a filled up marker
    assert check_jpeg(frame, rows=36, columns=40) is None
    assert check_jpeg(commented, rows=36, columns=40) is None


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_head_is_refused(frame, damage):
    changed = DAMAGE[damage](frame)
    assert changed != frame
    with pytest.raises((ValueError, IndexError)):
        check_jpeg(changed, rows=36, columns=40)


def test_a_series_with_such_a_frame_is_refused_with_one_message(slices, frame, tmp_path):
    slices[1].PixelData = encapsulate([DAMAGE["no table"](frame)])
    (series,) = find_series(save(slices, tmp_path / "ct")).series
    with pytest.raises(ImageError, match="the pixels of a slice cannot be decoded"):
        read_series(series)
