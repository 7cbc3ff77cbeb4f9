"""What unpacks to far more than it is costs its own file alone, and never the memory."""

import zipfile
import zlib
from io import BytesIO

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segpipe.errors import ImageError
from segpipe.io.dicom.series import inflation
from segpipe.io.dicom.series.files import DAMAGED, UNOPENED, list_files
from segpipe.io.dicom.series.planes import LONGEST_SIDE
from segpipe.io.dicom.series.series import find_series, read_series
from tests.fuzz.mutations import little_memory
from tests.samples.synthetic_dicom import ct_slices, save, thorax

DEFLATED = str(DeflatedExplicitVRLittleEndian)
SHAPE = (9, 8, 7)
ZEROS = bytes(2**22)


@pytest.fixture(autouse=True)
def small_bound(monkeypatch):
    monkeypatch.setattr(inflation, "LARGEST_UNPACKED", 2**21)


def _deflated(folder):
    slices = ct_slices(thorax(SHAPE))
    for dataset in slices:
        dataset.file_meta.TransferSyntaxUID = DEFLATED
    return save(slices, folder)


def _add_zeros(file):
    """Appends a private attribute of zeros to a deflated data set."""
    content = file.read_bytes()
    start = 144 + pydicom.dcmread(file).file_meta.FileMetaInformationGroupLength
    plain = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    odd = b"\xe1\x7f\x10\x00OB\0\0" + len(ZEROS).to_bytes(4, "little") + ZEROS
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    file.write_bytes(content[:start] + packer.compress(plain + odd) + packer.flush())


def test_deflated_files_are_read_and_one_that_unpacks_without_bound_is_left_out(tmp_path):
    folder = _deflated(tmp_path / "ct")
    np.testing.assert_array_equal(read_series(find_series(folder).series[0]).array, thorax(SHAPE))
    _add_zeros(max(folder.iterdir()))
    found = find_series(folder)
    assert found.left_out == {DAMAGED: 1}
    assert len(found.series[0].planes) == 6


def test_a_deflated_dicomdir_that_unpacks_without_bound_is_refused(tmp_path):
    file = max(_deflated(tmp_path).iterdir()).rename(tmp_path / "DICOMDIR")
    _add_zeros(file)
    with pytest.raises(ImageError, match="the DICOMDIR is damaged"):
        list_files(file)


def test_a_file_that_only_names_the_deflated_syntax_is_read(tmp_path):
    slices = ct_slices(thorax(SHAPE))
    for dataset in slices:
        dataset.ImageComments = DEFLATED
    assert len(find_series(save(slices, tmp_path / "ct")).series[0].planes) == 7


def test_a_member_of_a_zip_file_that_unpacks_without_bound_is_left_out(tmp_path):
    files = sorted(save(ct_slices(thorax(SHAPE)), tmp_path / "ct").iterdir())
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, file in enumerate(files):
            archive.writestr(file.name, file.read_bytes() + (b"" if number else ZEROS))
    found = find_series(tmp_path / "a.zip")
    assert found.left_out == {UNOPENED: 1}
    assert len(found.series[0].planes) == 6


@pytest.mark.parametrize("side", [0, LONGEST_SIDE + 1])
def test_slices_of_a_size_that_no_ct_has_take_no_memory(tmp_path, side):
    slices = ct_slices(thorax(SHAPE))
    for dataset in slices:
        dataset.Rows = side
    with pytest.raises(ImageError, match="no CT series found") as caught:
        find_series(save(slices, tmp_path / "ct"))
    assert caught.value.facts == {"an image without pixels, or larger than any of a CT": "7 files"}


def test_a_dicomdir_that_claims_gigabytes_takes_no_memory(tmp_path):
    """Python takes the memory for all that is asked of a file before it reads any of it."""
    valid = BytesIO()
    ct_slices(thorax((2, 2, 2)))[0].save_as(valid, enforce_file_format=True)
    start = valid.getvalue().index(b"\xe0\x7f\x10\0OW") + 8  # the length of the pixels
    (tmp_path / "DICOMDIR").write_bytes(valid.getvalue()[:start] + (2**32 - 16).to_bytes(4, "little") + b"\0" * 64)
    with little_memory(), pytest.raises(ImageError, match="DICOMDIR"):
        list_files(tmp_path / "DICOMDIR")
