"""Scans come in and go out with the same voxels at the same places, and every bad file is reported as such."""

import gzip
import resource
import struct
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from segpipe.errors import GeometryError, ImageError, OutputError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import (
    SUFFIXES,
    list_volumes,
    read_grid,
    read_shape,
    read_volume,
    volume_name,
    write_volume,
)


def _image(shape=(5, 6, 7), seed=0):
    return np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16)


def _oblique(shape=(5, 6, 7)):
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", [5, -4, 9], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-0.7, -0.8, 2.5])
    affine[:3, 3] = [10, -20, 30]
    return Grid(shape, affine)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_written_volume_reads_back_with_voxels_and_places(tmp_path, suffix):
    image, grid = _image(), _oblique()
    file = write_volume(tmp_path / f"case{suffix}", image, grid)
    volume = read_volume(file)
    assert_array_equal(volume.array, image)
    assert volume.array.dtype == np.int16
    assert volume.grid.matches(grid, tolerance_mm=1e-4)
    assert volume.source == file


@settings(max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    signs=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_any_affine_survives_nifti_and_nrrd_as_other_readers_see_it(tmp_path_factory, angles, spacing, signs, origin):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(np.multiply(spacing, signs))
    affine[:3, 3] = origin
    folder, image, grid = tmp_path_factory.mktemp("affine"), _image((3, 4, 5)), Grid((3, 4, 5), affine)
    nifti = nibabel.load(write_volume(folder / "a.nii", image, grid))
    assert_allclose(nifti.affine, affine, atol=1e-4)
    itk = SimpleITK.ReadImage(str(write_volume(folder / "a.nrrd", image, grid)))
    index = (1, 2, 3)
    assert itk[index] == image[index]
    lps = itk.TransformIndexToPhysicalPoint(index)
    assert_allclose([-lps[0], -lps[1], lps[2]], affine[:3, :3] @ index + affine[:3, 3], atol=1e-4)
    assert read_volume(folder / "a.nrrd").grid.matches(read_volume(folder / "a.nii").grid, tolerance_mm=1e-3)


def test_rescaling_in_the_header_is_applied(tmp_path):
    stored = nibabel.Nifti1Image(np.full((2, 3, 4), 100, np.int16), np.eye(4))
    stored.header.set_slope_inter(2.0, -1024.0)
    nibabel.save(stored, tmp_path / "scaled.nii")
    content = bytearray((tmp_path / "scaled.nii").read_bytes())
    content[352:] = np.full((2, 3, 4), 100, "<i2").tobytes()
    (tmp_path / "scaled.nii").write_bytes(content)
    volume = read_volume(tmp_path / "scaled.nii")
    assert volume.array.dtype == np.float32
    assert_array_equal(volume.array, np.full((2, 3, 4), 2 * 100 - 1024))


def test_big_endian_files_become_native(tmp_path):
    image = nibabel.Nifti1Image(_image().astype(">i2"), np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(image, tmp_path / "big.nii")
    volume = read_volume(tmp_path / "big.nii")
    assert volume.array.dtype.isnative
    assert_array_equal(volume.array, _image())


@pytest.mark.parametrize(
    ("given_dtype", "stored_dtype"),
    [(bool, np.uint8), (np.uint8, np.uint8), (np.int64, np.int16), (np.float64, np.float32), (np.float16, np.float32)],
)
def test_arrays_are_stored_in_plain_types(tmp_path, given_dtype, stored_dtype):
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(given_dtype)
    write_volume(tmp_path / "a.nii.gz", array, Grid((2, 3, 4), np.eye(4)))
    volume = read_volume(tmp_path / "a.nii.gz")
    assert volume.array.dtype == stored_dtype
    assert_array_equal(volume.array, array)


def test_integers_beyond_int16_are_not_wrapped(tmp_path):
    array = np.array([[[70000, -70000]]])
    write_volume(tmp_path / "a.nrrd", array, Grid((1, 1, 2), np.eye(4)))
    assert_array_equal(read_volume(tmp_path / "a.nrrd").array, array)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_trailing_axis_of_one_is_dropped(tmp_path, suffix):
    image = SimpleITK.Image((3, 4, 5, 1), SimpleITK.sitkInt16)
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    assert read_volume(tmp_path / f"a{suffix}").array.shape == (3, 4, 5)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ImageError, match="must exist") as caught:
        read_volume(tmp_path / "none.nii.gz")
    assert "none.nii.gz" in str(caught.value)


def test_an_unknown_format_is_reported_with_those_that_are_known(tmp_path):
    with pytest.raises(ImageError, match=r"format is not known[\s\S]*\.nii\.gz \.nrrd"):
        read_volume(tmp_path / "picture.png")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.95])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_truncated_files_are_reported(tmp_path, suffix, share):
    shape = (20, 20, 20)
    file = write_volume(tmp_path / f"a{suffix}", _image(shape), Grid(shape, np.eye(4)))
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match="cannot be read") as caught:
        read_volume(file)
    assert "truncated" in str(caught.value)
    assert "0x" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello world" * 200])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_another_kind_are_reported(tmp_path, suffix, content):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read"):
        read_volume(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("offset", [9.2e18, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_that_begin_beyond_any_file_are_reported(tmp_path, name, offset):
    file = write_volume(tmp_path / name, _image(), _oblique())
    content = bytearray(gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes())
    content[108:112] = struct.pack("<f", offset)
    file.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ImageError, match="the image file cannot be read"):
        read_volume(file)


def test_damaged_compression_is_reported(tmp_path):
    file = write_volume(tmp_path / "a.nii.gz", _image((20, 20, 20)), Grid((20, 20, 20), np.eye(4)))
    content = bytearray(file.read_bytes())
    content[2000:2100] = bytes(100)
    file.write_bytes(content)
    with pytest.raises(ImageError, match="cannot be read"):
        read_volume(file)


@pytest.mark.parametrize(("shape", "found"), [((5, 6), "2-D, 5×6"), ((5, 6, 7, 3), "4-D, 5×6×7×3")])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_images_that_are_not_3d_are_reported(tmp_path, suffix, shape, found):
    SimpleITK.WriteImage(SimpleITK.Image(shape, SimpleITK.sitkInt16), str(tmp_path / f"a{suffix}"))
    with pytest.raises(ImageError, match="must be 3-D") as caught:
        read_volume(tmp_path / f"a{suffix}")
    assert found in str(caught.value)
    assert f"a{suffix}" in str(caught.value)


def test_colour_is_reported(tmp_path):
    colour = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 3, 4), colour), np.eye(4)), tmp_path / "rgb.nii")
    with pytest.raises(ImageError, match="one number per voxel"):
        read_volume(tmp_path / "rgb.nii")
    SimpleITK.WriteImage(SimpleITK.Image((2, 3, 4), SimpleITK.sitkVectorUInt8, 3), str(tmp_path / "rgb.nrrd"))
    with pytest.raises(ImageError, match="2×3×4×3"):
        read_volume(tmp_path / "rgb.nrrd")


def test_a_singular_nifti_affine_is_reported(tmp_path):
    image = nibabel.Nifti1Image(_image(), None)
    image.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(image, tmp_path / "flat.nii")
    with pytest.raises(GeometryError, match=r"singular[\s\S]*flat\.nii"):
        read_volume(tmp_path / "flat.nii")


@pytest.mark.parametrize(
    ("line", "value"), [(b"TransformMatrix = ", b"1 0 0 0 1 0 0 0 0"), (b"ElementSpacing = ", b"1 1 0")]
)
def test_a_singular_metaimage_affine_is_reported(tmp_path, line, value):
    file = write_volume(tmp_path / "flat.mha", _image(), _oblique())
    rows = file.read_bytes().split(b"\n")
    file.write_bytes(b"\n".join(line + value if row.startswith(line) else row for row in rows))
    with pytest.raises(GeometryError, match=r"singular[\s\S]*flat\.mha"):
        read_volume(file)


def test_array_and_grid_of_different_shapes_are_reported(tmp_path):
    with pytest.raises(GeometryError, match="one shape"):
        write_volume(tmp_path / "a.nii", _image((2, 2, 2)), _oblique())
    assert list(tmp_path.iterdir()) == []


@contextmanager
def small_disk():
    """Lets no file of this process grow beyond 2 kB, which is how a full disk feels to a writer.

    Only while the file is written: pytest's own output may go to a longer one.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_reported_and_leaves_nothing_behind(tmp_path, suffix):
    shape = (20, 20, 20)
    old = tmp_path / f"a{suffix}"
    old.write_bytes(b"the file before")
    with small_disk(), pytest.raises(OutputError, match=r"(no space left|cannot be written)[\s\S]*disk space"):
        write_volume(old, _image(shape), Grid(shape, np.eye(4)))
    assert old.read_bytes() == b"the file before"
    assert [file.name for file in tmp_path.iterdir()] == [old.name]


def test_a_folder_that_is_a_file_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_volume(tmp_path / "file" / "a.nii", _image(), _oblique())


def test_listing_is_sorted_and_leaves_out_hidden_and_foreign_files(tmp_path):
    for name in ("b.nii.gz", "a.mha", ".hidden.nii", "notes.txt", "c.NRRD"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii").mkdir()
    assert [file.name for file in list_volumes(tmp_path)] == ["a.mha", "b.nii.gz", "c.NRRD"]


@pytest.mark.parametrize(
    ("name", "stem"), [("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("c.MHA", "c"), ("x.nii.nrrd", "x.nii")]
)
def test_names_lose_only_the_ending_of_the_format(name, stem):
    assert volume_name(Path("scans") / name) == stem


@pytest.mark.parametrize(("inter", "dtype"), [(-1024, np.int16), (-1024.5, np.float32), (40000, np.float32)])
def test_a_whole_intercept_keeps_whole_numbers_where_they_fit(tmp_path, inter, dtype):
    stored = np.arange(4096, dtype=np.uint16)[: 5 * 6 * 7].reshape(5, 6, 7)
    image = nibabel.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(1, inter)
    nibabel.save(image, tmp_path / "a.nii.gz")
    array = read_volume(tmp_path / "a.nii.gz").array
    assert array.dtype == dtype
    assert_array_equal(array, stored.astype(np.float64) + inter)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd"])
def test_the_shape_is_read_without_the_voxels(tmp_path, name):
    write_volume(tmp_path / name, np.zeros((5, 6, 7), np.int16), Grid((5, 6, 7), np.eye(4)))
    assert read_shape(tmp_path / name) == (5, 6, 7)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha"])
def test_the_grid_is_read_without_the_voxels(tmp_path, name):
    affine = np.array([[0.0, -0.7, 0.0, 3.0], [0.8, 0.0, 0.0, -5.0], [0.0, 0.0, 2.5, 7.0], [0.0, 0.0, 0.0, 1.0]])
    grid = Grid((5, 6, 7), affine)
    write_volume(tmp_path / name, np.zeros(grid.shape, np.int16), grid)
    assert read_grid(tmp_path / name).matches(grid)
    assert read_grid(tmp_path / "none.nii") is None


def test_numbers_beyond_float32_become_infinite_without_a_word(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.full((2, 2, 2), 1e300), np.eye(4)), tmp_path / "a.nii")
    assert np.isinf(read_volume(tmp_path / "a.nii").array).all()


def test_an_unreadable_header_has_no_shape(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"nonsense")
    assert read_shape(tmp_path / "a.nrrd") == ()
