"""A header may claim what it likes: no memory is taken and no file elsewhere is opened for it."""

import gzip
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest

from segpipe.errors import ImageError
from segpipe.geometry import Grid
from segpipe.io.images import header_claims
from segpipe.io.images.volumes import read_shape, read_volume, write_volume

SHAPE = (5, 6, 7)
GRID = Grid(SHAPE, np.diag([1.0, 1.0, 2.0, 1.0]))


def _claim_nifti(file, sides):
    content = bytearray(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
    content[40:48] = struct.pack("<4h", 3, *sides)
    file.write_bytes(gzip.compress(bytes(content)) if file.suffix == ".gz" else bytes(content))


def _claim_text(file, sides):
    old = " ".join(map(str, SHAPE)).encode()
    file.write_bytes(file.read_bytes().replace(old, " ".join(map(str, sides)).encode(), 1))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
@pytest.mark.parametrize("sides", [(10_000, 10_000, 10_000), (32_000, 32_000, 32_000)])
def test_a_header_that_claims_more_than_the_file_can_hold_takes_no_memory(tmp_path, name, sides):
    file = write_volume(tmp_path / name, np.zeros(SHAPE, np.int16), GRID)
    (_claim_nifti if ".nii" in name else _claim_text)(file, sides)

    tracemalloc.start()
    with pytest.raises(ImageError, match="cannot be read") as caught:
        read_volume(file)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()

    assert f"claims {2 * sides[0] ** 3} bytes" in str(caught.value)
    assert read_shape(file) == ()


@pytest.mark.parametrize("name", ["a.nii.gz", "a.mha"])
def test_a_small_file_that_unpacks_to_more_than_there_is_memory_is_refused(tmp_path, monkeypatch, name):
    file = write_volume(tmp_path / name, np.zeros(SHAPE, np.int16), GRID)  # 210 voxels of 2 and 4 bytes
    monkeypatch.setattr(header_claims, "available_memory", lambda: 1260)
    assert read_volume(file).grid.shape == SHAPE
    monkeypatch.setattr(header_claims, "available_memory", lambda: 1259)
    with pytest.raises(ImageError, match="needs more memory than there is") as caught:
        read_volume(file)
    for fact in ("5×6×7", "1260 bytes", "1259 bytes", name, "crop it to the chest"):
        assert fact in str(caught.value)


@pytest.mark.parametrize("name", ["../secret.raw", "{folder}/secret.raw", "sub/../../secret.raw", "C:\\secret.raw"])
@pytest.mark.parametrize("form", ["mhd", "nhdr", "list"])
def test_a_header_never_opens_a_file_outside_its_folder(tmp_path, name, form):
    (tmp_path / "secret.raw").write_bytes(bytes(2 * 5 * 6 * 7))
    (tmp_path / "in").mkdir()
    named = name.format(folder=tmp_path)
    file = tmp_path / "in" / ("a.nrrd" if form == "nhdr" else "a.mhd")
    if form == "nhdr":
        lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 5 6 7", "encoding: raw", "endian: little"]
        lines += [f"data file: {named}", ""]
    else:
        lines = ["ObjectType = Image", "NDims = 3", "DimSize = 5 6 7", "ElementType = MET_SHORT"]
        lines += ["ElementDataFile = LIST", named] if form == "list" else [f"ElementDataFile = {named}"]
    file.write_text("\n".join(lines) + "\n")

    with pytest.raises(ImageError, match="may not name a file outside its folder"):
        read_volume(file)
    assert read_shape(file) == ()


@pytest.mark.parametrize("claimed", ["9999999999993", "399999999999", "-1", "x", "", "3=", "11"])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_dimensions_without_bound_are_refused_before_itk_makes_room_for_them(tmp_path, name, claimed):
    """With the first of them ITK ended the process."""
    file = write_volume(tmp_path / name, np.zeros(SHAPE, np.int16), GRID)
    file.write_bytes(file.read_bytes().replace(b"NDims = 3", b"NDims = " + claimed.encode(), 1))
    with pytest.raises(ImageError, match="must have 10 dimensions at most"):
        read_volume(file)
    assert read_shape(file) == ()


def test_voxels_in_a_file_of_the_same_folder_are_read(tmp_path):
    voxels = np.arange(5 * 6 * 7, dtype="<i2")
    (tmp_path / "a.raw").write_bytes(voxels.tobytes())
    lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 5 6 7", "encoding: raw", "endian: little"]
    (tmp_path / "a.nrrd").write_text("\n".join([*lines, "data file: a.raw", "", ""]))

    assert (read_volume(tmp_path / "a.nrrd").array.ravel(order="F") == voxels).all()


def test_headers_that_libraries_complain_about_are_read_without_a_word(tmp_path, capfd):
    image = nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), GRID.affine)
    nibabel.save(image, tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[254:256] = struct.pack("<h", 99)  # an sform_code that there is not
    (tmp_path / "a.nii").write_bytes(content)

    read_volume(tmp_path / "a.nii")

    assert "".join(capfd.readouterr()) == ""
