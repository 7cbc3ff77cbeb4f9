"""Every way a case can be bad is reported once, with the case's name and what was found."""

import nibabel
import numpy as np
import pytest

from segpipe.datasets.loading import load_case, load_lesions
from segpipe.datasets.manifest import Entry
from segpipe.errors import GeometryError, ImageError, LabelError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.labels import LabelMap

LABELS = {1: "nodule"}
SHAPE = (6, 7, 8)
GRID = Grid(SHAPE, np.diag([0.8, 0.8, 2.0, 1.0]))


def _image():
    return np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16)


def _mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    return mask


def _entry(folder, image=None, mask=None, mask_grid=GRID):
    image_file = write_volume(folder / "image.nii.gz", _image() if image is None else image, GRID)
    mask = _mask() if mask is None else mask
    mask_file = write_volume(folder / "mask.nii.gz", mask, Grid(mask.shape, mask_grid.affine))
    return Entry("case_7", "patient_0001", image_file, mask_file)


def test_a_good_case_loads(tmp_path):
    case = load_case(_entry(tmp_path), LABELS)
    assert case.id == "case_7"
    assert case.mask is not None
    assert case.mask.dtype == np.uint8
    assert int(case.mask.sum()) == 8
    assert case.grid.matches(GRID)


def test_a_case_without_mask_loads(tmp_path):
    entry = _entry(tmp_path)
    assert load_case(Entry("x", "p", entry.image), LABELS).mask is None
    assert load_lesions(Entry("x", "p", entry.image), LABELS).mask is None


@pytest.mark.parametrize("labels", [{1: "lung", 3: "nodule"}, {3: "region"}])
def test_lesions_alone_are_loaded_as_1(tmp_path, labels):
    mask = 3 * _mask()
    mask[0, 0, 0] = min(labels)
    lesions = load_lesions(_entry(tmp_path, mask=mask), labels, LabelMap.of("nodule")).mask
    assert lesions.dtype == np.uint8
    np.testing.assert_array_equal(lesions, mask == 3)


def _reported(entry, kind, *texts):
    with pytest.raises(kind) as caught:
        load_case(entry, LABELS)
    for text in ("case_7", *texts):
        assert text in str(caught.value)


def test_a_missing_mask_file_is_reported(tmp_path):
    entry = _entry(tmp_path)
    entry.mask.unlink()
    _reported(entry, ImageError, "must exist", "mask.nii.gz")


def test_a_truncated_image_is_reported(tmp_path):
    entry = _entry(tmp_path)
    entry.image.write_bytes(entry.image.read_bytes()[:300])
    _reported(entry, ImageError, "cannot be read", "image.nii.gz", "300 bytes")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted(tmp_path, bad):
    image = _image().astype(np.float32)
    image[0, 0, :3] = bad
    _reported(_entry(tmp_path, image), ImageError, "must be finite", "3 NaN or infinite of 336 voxels")


def test_a_constant_image_is_reported(tmp_path):
    _reported(_entry(tmp_path, np.full(SHAPE, -1000, np.int16)), ImageError, "constant", "-1000")


def test_a_mask_of_another_shape_is_reported(tmp_path):
    _reported(_entry(tmp_path, mask=_mask()[..., :-1]), GeometryError, "same grid", "6×7×8", "6×7×7")


def test_a_mask_at_another_place_is_reported(tmp_path):
    affine = GRID.affine.copy()
    affine[2, 3] += 2.0
    _reported(_entry(tmp_path, mask_grid=Grid(SHAPE, affine)), GeometryError, "same grid")


def test_labels_outside_the_map_are_reported(tmp_path):
    _reported(_entry(tmp_path, mask=_mask() * 3), LabelError, "outside the label map", "3", "1 nodule")


def test_fractional_labels_are_reported(tmp_path):
    _reported(_entry(tmp_path, mask=_mask() * np.float32(0.5)), LabelError, "fractional", "0.5")


def test_a_mask_with_nan_is_reported(tmp_path):
    mask = _mask().astype(np.float32)
    mask[0, 0, 0] = np.nan
    _reported(_entry(tmp_path, mask=mask), LabelError, "nan")


def test_a_float_mask_of_whole_numbers_is_fine(tmp_path):
    case = load_case(_entry(tmp_path, mask=_mask().astype(np.float32)), LABELS)
    assert int(case.mask.sum()) == 8


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 8, 2)])
def test_a_scan_that_is_not_3d_is_reported(tmp_path, shape):
    entry = _entry(tmp_path)
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), entry.image)
    _reported(entry, ImageError, "must be 3-D", f"{len(shape)}-D")


def test_a_singular_affine_is_reported(tmp_path):
    entry = _entry(tmp_path)
    image = nibabel.Nifti1Image(_image(), None)
    image.header.set_sform(np.diag([1.0, 0.0, 1.0, 1.0]), code=1)
    nibabel.save(image, entry.image)
    _reported(entry, GeometryError, "singular", "image.nii.gz")
