"""A segmentation that is damaged, or made on other slices, is refused with its numbers; no frame is lost in silence."""

import highdicom
import numpy as np
import pydicom
import pytest
from numpy.testing import assert_array_equal

from segpipe.errors import GeometryError, ImageError, LabelError
from segpipe.geometry import flip_ras_lps
from segpipe.io.dicom.seg.reading import read_dicom_seg, read_segment_labels
from segpipe.io.dicom.series.series import find_series, read_series, read_source_datasets
from tests.io.dicom.seg.test_reading import _write
from tests.samples.synthetic_dicom import AXIAL, ct_slices, save, set_odd, thorax

BOX = (slice(10, 15), slice(5, 9))  # 20 pixels (column, row)


def _series(folder, shape=(40, 36, 9), affine=AXIAL, spoil=None):
    slices = ct_slices(thorax(shape), affine)
    if spoil:
        spoil(slices)
    return find_series(save(slices, folder)).series[0]


def _box(shape, slices):
    mask = np.zeros(shape, np.uint8)
    mask[(*BOX, slices)] = 1
    return mask


def _spoilt(tmp_path, spoil, series=None, kind="BINARY"):
    """A segmentation of a box on slices 3 to 7, changed and written again."""
    series = series or _series(tmp_path / "ct")
    pixels = _box((40, 36, 9), slice(3, 8)).T
    path = _write(tmp_path / "seg.dcm", read_source_datasets(series), pixels, "nodule", kind=kind)
    dataset = pydicom.dcmread(path)
    spoil(dataset)
    dataset.save_as(path)
    return series, path


@pytest.mark.parametrize("shape", [(37, 31, 9), (5, 5, 9), (313, 237, 9)])
def test_single_bits_that_fill_no_whole_bytes_come_back(tmp_path, shape):
    series = _series(tmp_path / "ct", shape)
    mask = np.random.default_rng(1).random(shape) > 0.5
    path = _write(tmp_path / "seg.dcm", read_source_datasets(series), mask.T.astype(np.uint8), "nodule")

    assert_array_equal(read_dicom_seg(path, series)["nodule"], mask)


def test_frames_between_the_slices_are_refused_with_their_distance(tmp_path):
    thick = _series(tmp_path / "thick")
    thin = AXIAL.copy()
    thin[2, 2] = 1.0
    volume = highdicom.Volume(
        _box((40, 36, 21), slice(5, 16)).T,
        flip_ras_lps(flip_ras_lps(thin))[:, [2, 1, 0, 3]],
        "PATIENT",
        frame_of_reference_uid=thick.identity.frame_of_reference_uid,
    )
    path = _write(tmp_path / "seg.dcm", read_source_datasets(thick), volume, "nodule")

    with pytest.raises(GeometryError, match="does not lie on the slices of the series") as caught:
        read_dicom_seg(path, thick)

    assert caught.value.facts["found"] == "8 of 11 frames are 0.50 to 1.00 mm off the nearest slice"
    assert caught.value.facts["slice distance"] == "2.500 mm"


def test_a_frame_on_a_slice_that_the_series_lacks_is_kept_when_the_series_is_mended(tmp_path):
    whole = _series(tmp_path / "whole")
    mask = _box((40, 36, 9), slice(3, 8))
    mask[20:22, 20, 4] = 1
    path = _write(tmp_path / "seg.dcm", read_source_datasets(whole), mask.T, "nodule")
    gappy = find_series(_without_slice(tmp_path / "whole", 4, tmp_path / "gappy")).series[0]

    assert_array_equal(read_dicom_seg(path, gappy, repair=("missing",))["nodule"], mask)


def _without_slice(folder, place, other):
    datasets = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda dataset: dataset.ImagePositionPatient[2])
    return save(datasets[:place] + datasets[place + 1 :], other)


def test_frames_of_a_tilted_series_and_of_its_upright_grid_are_both_read(tmp_path):
    affine = AXIAL.copy()
    affine[1, 2] = 0.7
    series = _series(tmp_path / "ct", affine=affine)
    upright = read_series(series, repair=("tilt",)).grid
    mask = _box(upright.shape, slice(3, 8))
    volume = highdicom.Volume(
        mask.T,
        flip_ras_lps(upright.affine)[:, [2, 1, 0, 3]],
        "PATIENT",
        frame_of_reference_uid=series.identity.frame_of_reference_uid,
    )
    sources = read_source_datasets(series, repair=("tilt",))

    path = _write(tmp_path / "seg.dcm", sources, volume, "nodule")

    assert_array_equal(read_dicom_seg(path, series, repair=("tilt",))["nodule"], mask)
    tilted = _write(tmp_path / "tilted.dcm", sources, _box((40, 36, 9), slice(3, 8)).T, "nodule")
    assert read_dicom_seg(tilted, series, repair=("tilt",))["nodule"].sum() == 100


def _cut(dataset):
    dataset.PixelData = dataset.PixelData[:-4]


def _too_many_frames(dataset):
    dataset.NumberOfFrames = 6


def _too_few_frames(dataset):
    dataset.NumberOfFrames = 2


def _frames_without_count(dataset):
    del dataset.NumberOfFrames


def _no_groups(dataset):
    del dataset.PerFrameFunctionalGroupsSequence


def _fewer_groups_and_frames(dataset):
    dataset.NumberOfFrames = 4
    dataset.PerFrameFunctionalGroupsSequence.pop()


@pytest.mark.parametrize(
    "spoil", [_cut, _too_many_frames, _too_few_frames, _frames_without_count, _no_groups, _fewer_groups_and_frames]
)
def test_frames_that_do_not_agree_with_the_header_are_refused(tmp_path, spoil):
    series, path = _spoilt(tmp_path, spoil)

    with pytest.raises(ImageError, match="do not agree with its header") as caught:
        read_dicom_seg(path, series)

    assert "series 1 (9 slices of 40×36)" in str(caught.value)


def _no_segment(dataset):
    del dataset.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence


def _no_place(dataset):
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def _no_rows(dataset):
    del dataset.Rows


def _no_pixels(dataset):
    del dataset.PixelData


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_segment, "must name its segment"),
        (_no_place, "has no place"),
        (_no_rows, "the segmentation is damaged"),
        (_no_pixels, "the segmentation is damaged"),
    ],
)
def test_what_a_frame_must_say_is_asked_for(tmp_path, spoil, message):
    series, path = _spoilt(tmp_path, spoil)

    with pytest.raises(ImageError, match=message):
        read_dicom_seg(path, series)


def test_fractions_without_a_scale_are_refused(tmp_path):
    series, path = _spoilt(tmp_path, lambda dataset: delattr(dataset, "MaximumFractionalValue"), kind="FRACTIONAL")

    with pytest.raises(ImageError, match="must have a MaximumFractionalValue"):
        read_dicom_seg(path, series)


def test_segments_without_label_are_called_by_their_number(tmp_path):
    series, path = _spoilt(tmp_path, lambda dataset: delattr(dataset.SegmentSequence[0], "SegmentLabel"))

    assert read_segment_labels(path) == ["segment 1"]
    assert read_dicom_seg(path, series, segment="segment 1")["segment 1"].sum() == 100
    series, path = _spoilt(tmp_path, lambda dataset: delattr(dataset, "SegmentSequence"), series)
    assert read_segment_labels(path) == []
    with pytest.raises(LabelError, match=r"no segment has a label that matches[\s\S]*known +none"):
        read_dicom_seg(path, series)


def test_a_file_cut_short_is_reported(tmp_path):
    series, path = _spoilt(tmp_path, lambda dataset: None)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(ImageError):
        read_dicom_seg(path, series)


def test_a_series_that_names_no_frame_of_reference_is_no_contradiction(tmp_path):
    series = _series(tmp_path / "ct")
    path = _write(tmp_path / "seg.dcm", read_source_datasets(series), _box((40, 36, 9), slice(3, 8)).T, "nodule")
    datasets = [pydicom.dcmread(file) for file in (tmp_path / "ct").iterdir()]
    for dataset in datasets:
        del dataset.FrameOfReferenceUID

    (bare,) = find_series(save(datasets, tmp_path / "bare")).series

    assert read_dicom_seg(path, bare)["nodule"].sum() == 100


def test_a_number_of_frames_that_is_none_is_refused(tmp_path):
    series, path = _spoilt(tmp_path, lambda dataset: set_odd([dataset], NumberOfFrames="five"))

    with pytest.raises(ImageError, match="do not agree with its header"):
        read_dicom_seg(path, series)
