"""Segmentations made by highdicom come back on the grid of their series, voxel by voxel."""

import highdicom
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from segpipe.errors import ConfigError, GeometryError, ImageError, LabelError
from segpipe.geometry import flip_ras_lps
from segpipe.io.dicom.seg.reading import read_dicom_seg
from segpipe.io.dicom.series.series import find_series, read_series, read_source_datasets
from tests.samples.synthetic_dicom import AXIAL, ct_slices, oblique, save, thorax


def _mask(seed=4, shape=(40, 36, 9)):
    """A mask without symmetry that leaves the first and some inner slices empty."""
    mask = np.random.default_rng(seed).random(shape) > 0.7
    mask[:, :, [0, 5, 6]] = False
    return mask


def _mirrored():
    affine = AXIAL.copy()
    affine[0, 0] *= -1
    return affine


def _reversed():
    affine = AXIAL.copy()
    affine[2, 2] *= -1
    return affine


def _segments(*labels):
    algorithm = highdicom.AlgorithmIdentificationSequence("a", codes.DCM.ArtificialIntelligence, "1")
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Nodule,
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
        )
        for number, label in enumerate(labels, start=1)
    ]


def _write(path, sources, pixels, *labels, kind="BINARY", **options):
    segmentation = highdicom.seg.Segmentation(
        sources, pixels, kind, _segments(*labels), generate_uid(), 2, generate_uid(), 1, "m", "n", "1", "s", **options
    )
    segmentation.save_as(path)
    return path


@pytest.fixture(params=[AXIAL, oblique(), _mirrored(), _reversed()], ids=["axial", "oblique", "mirrored", "reversed"])
def series(tmp_path, request):
    (found,) = find_series(save(ct_slices(thorax(), request.param), tmp_path / "ct")).series
    return found


@pytest.fixture
def axial(tmp_path):
    (found,) = find_series(save(ct_slices(thorax()), tmp_path / "ct")).series
    return found


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segment_comes_back_where_it_was(tmp_path, series, kind):
    pixels = _mask().transpose(2, 1, 0)
    pixels = pixels.astype(np.float32) if kind == "FRACTIONAL" else pixels.astype(np.uint8)

    path = _write(tmp_path / "seg.dcm", read_source_datasets(series), pixels, "nodule", kind=kind)

    masks = read_dicom_seg(path, series)
    assert list(masks) == ["nodule"]
    assert masks["nodule"].dtype == np.uint8
    assert_array_equal(masks["nodule"], _mask())


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_are_chosen_by_label(tmp_path, axial, kind):
    nodule, lung = _mask(), ~_mask() & _mask(5)
    pixels = (nodule + 2 * lung).astype(np.uint8).transpose(2, 1, 0)
    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), pixels, "nodule", "Lung", kind=kind)

    masks = read_dicom_seg(path, axial)

    assert_array_equal(masks["nodule"], nodule)
    assert_array_equal(masks["Lung"], lung)
    assert list(read_dicom_seg(path, axial, segment="LUNG")) == ["Lung"]


def test_segments_that_overlap_keep_their_common_voxels(tmp_path, axial):
    both = np.stack([_mask(), _mask(5)], axis=-1).transpose(2, 1, 0, 3).astype(np.uint8)
    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), both, "a", "b")

    masks = read_dicom_seg(path, axial)

    assert_array_equal(masks["a"], _mask())
    assert_array_equal(masks["b"], _mask(5))


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_with_one_label_are_united(tmp_path, axial, kind):
    first, second = _mask(), ~_mask() & _mask(5)
    pixels = (first + 2 * second).astype(np.uint8).transpose(2, 1, 0)
    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), pixels, "a", "a", kind=kind)

    assert_array_equal(read_dicom_seg(path, axial, segment="a")["a"], first | second)


def test_fractions_of_a_half_and_more_count(tmp_path, axial):
    pixels = np.zeros((9, 36, 40), np.float32)
    pixels[3, 4, 5:9] = [0.2, 0.45, 0.55, 1.0]

    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), pixels, "nodule", kind="FRACTIONAL")

    assert_array_equal(np.argwhere(read_dicom_seg(path, axial)["nodule"]), [[7, 4, 3], [8, 4, 3]])


def test_one_slice_alone_finds_its_place(tmp_path, axial):
    mask = np.zeros((40, 36, 9), np.uint8)
    mask[3, 4, 7] = 1

    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), mask.transpose(2, 1, 0), "nodule")

    assert_array_equal(read_dicom_seg(path, axial)["nodule"], mask)


def _volume(series, array):
    grid = read_series(series).grid
    return highdicom.Volume(
        array.astype(np.uint8),
        flip_ras_lps(grid.affine),
        "PATIENT",
        frame_of_reference_uid=series.identity.frame_of_reference_uid,
    )


@pytest.mark.parametrize("turned", ["flipped", "transposed", "cropped"])
def test_a_segmentation_on_a_turned_or_cropped_grid_is_turned_back(tmp_path, axial, turned):
    mask = _mask()
    mask[:12], mask[30:] = False, False
    volume = _volume(axial, mask)
    if turned == "flipped":
        volume = volume.permute_spatial_axes((2, 1, 0)).flip_spatial([1, 2])
    elif turned == "transposed":
        volume = volume.permute_spatial_axes((2, 0, 1))
    else:
        volume = volume.permute_spatial_axes((2, 1, 0))[:, :, 12:30]

    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), volume, "nodule")

    assert_array_equal(read_dicom_seg(path, axial)["nodule"], mask)


@pytest.mark.parametrize(("move", "message"), [("half a pixel", "another grid"), ("coarser", "another grid"),
                                               ("far away", "beyond the series")])  # fmt: skip
def test_another_grid_is_refused(tmp_path, axial, move, message):
    grid = read_series(axial).grid
    affine = flip_ras_lps(grid.affine)
    if move == "half a pixel":
        affine[0, 3] += 0.4
    elif move == "coarser":
        affine[:3, 0] *= 2
    else:
        affine[:3, 3] += affine[:3, 0] * 30
    volume = highdicom.Volume(
        _mask().astype(np.uint8),
        affine,
        "PATIENT",
        frame_of_reference_uid=axial.identity.frame_of_reference_uid,
    )
    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), volume.permute_spatial_axes((2, 1, 0)), "nodule")

    with pytest.raises(GeometryError, match=message) as caught:
        read_dicom_seg(path, axial)

    assert "series 1 (9 slices of 40×36)" in str(caught.value)


def test_a_segmentation_of_another_series_is_refused(tmp_path, axial):
    (other,) = find_series(save(ct_slices(thorax()), tmp_path / "other")).series
    path = _write(tmp_path / "seg.dcm", read_source_datasets(other), _mask().astype(np.uint8).T, "nodule")

    with pytest.raises(GeometryError, match="made on another series"):
        read_dicom_seg(path, axial)


def test_wrong_choices_and_files_are_reported(tmp_path, axial):
    path = _write(tmp_path / "seg.dcm", read_source_datasets(axial), _mask().astype(np.uint8).T, "nodule")

    with pytest.raises(LabelError, match="no segment has a label that matches") as caught:
        read_dicom_seg(path, axial, segment="tumour")
    assert caught.value.facts["known"] == "nodule"
    with pytest.raises(ConfigError, match="no regular expression"):
        read_dicom_seg(path, axial, segment="(")
    with pytest.raises(ImageError, match="no DICOM segmentation"):
        read_dicom_seg(tmp_path / "ct" / "IM0000", axial)
    with pytest.raises(ImageError, match="does not exist"):
        read_dicom_seg(tmp_path / "nothing", axial)
