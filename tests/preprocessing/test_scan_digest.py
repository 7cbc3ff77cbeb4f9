"""A scan's digest depends on its voxels alone: one form whatever the file, the order of its axes and its numbers."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.geometry import Grid
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.preprocessing.scan_digest import scan_digest
from tests.samples.synthetic_dicom import ct_slices, oblique, save, thorax

RAS = np.diag([0.7, 0.8, 2.5, 1.0])
IMAGE = np.arange(-12, 12, dtype=np.int16).reshape(2, 3, 4)


def grid_of(image, affine=RAS):
    return Grid(image.shape, affine)


def test_the_form_by_hand():
    image = np.array([[[-1, 2]], [[3, -1024]]], dtype=np.int16)  # 2×1×2
    content = "segpipe-scan-1 2×1×2\n".encode() + b"\xff\xff\x03\x00\x02\x00\x00\xfc"
    assert scan_digest(image, grid_of(image)) == hashlib.sha256(content).hexdigest()


@given(st.permutations(range(3)), st.lists(st.sampled_from([1, -1]), min_size=3, max_size=3))
def test_the_order_and_direction_of_axes_do_not_count(order, signs):
    turned = IMAGE.transpose(order)[tuple(slice(None, None, sign) for sign in signs)]
    affine = np.eye(4)
    affine[:3, :3] = RAS[:3, :3][:, order] * signs
    assert scan_digest(turned, grid_of(turned, affine)) == scan_digest(IMAGE, grid_of(IMAGE))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.dtype(">i2")])
def test_the_type_of_its_numbers_does_not_count(kind):
    assert scan_digest(IMAGE.astype(kind), grid_of(IMAGE)) == scan_digest(IMAGE, grid_of(IMAGE))


def test_numbers_of_no_hu_are_those_at_the_end():
    image = np.array([[[1e9, -1e9]]])
    whole = np.array([[[32767, -32768]]], dtype=np.int16)
    assert scan_digest(image, grid_of(image)) == scan_digest(whole, grid_of(whole))
    assert scan_digest(np.array([[[0.4, 255]]]), grid_of(whole)) == scan_digest(np.uint8([[[0, 255]]]), grid_of(whole))


@given(st.integers(0, IMAGE.size - 1), st.integers(1, 3000))
def test_every_voxel_counts(place, change):
    changed = IMAGE.copy()
    changed.flat[place] += change
    assert scan_digest(changed, grid_of(changed)) != scan_digest(IMAGE, grid_of(IMAGE))


def test_the_shape_counts():
    shapes = [shape for shape in itertools.product((1, 2, 3, 4, 6, 8, 12, 24), repeat=3) if np.prod(shape) == 24]
    digests = {scan_digest(IMAGE.reshape(shape), Grid(shape, RAS)) for shape in shapes}
    assert len(digests) == len(shapes) > 20


@pytest.mark.parametrize("affine", [None, oblique()], ids=["axial", "oblique"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_dicom_and_what_is_made_of_it_are_one_scan(tmp_path, affine, suffix):
    slices = ct_slices(thorax((9, 8, 7)), *([] if affine is None else [affine]))
    series = read_series(find_series(save(slices, tmp_path / "ct")).series[0])
    written = read_volume(write_volume(tmp_path / f"a{suffix}", series.array, series.grid))
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = series.array.shape[0] - 1
    turned = Grid(series.array.shape, series.grid.affine @ flipped)
    other = read_volume(write_volume(tmp_path / f"b{suffix}", series.array[::-1], turned))
    expected = scan_digest(series.array, series.grid)
    assert [scan_digest(volume.array, volume.grid) for volume in (written, other)] == [expected, expected]
