"""Structure sets become masks in the place where they were drawn, or are refused when they were drawn elsewhere."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from segpipe.errors import ConfigError, GeometryError, ImageError, LabelError
from segpipe.io.dicom.rtstruct.reading import read_region_names, read_regions, read_rtstruct
from segpipe.io.dicom.series.series import find_series
from tests.samples.synthetic_dicom import AXIAL, ct_slices, oblique, save, set_odd, thorax
from tests.samples.synthetic_structures import contour, structure_set

ROOT = Path(os.environ.get("SEGPIPE_REALDATA", "/nowhere"))


BOX = ((2.5, 3.5), (8.5, 9.5))
HOLE = ((3.5, 4.5), (5.5, 6.5))


@pytest.fixture
def drawn(tmp_path):
    """Writes a series and a structure set; returns the series and the path of the structure set."""

    def write(rois, affine=AXIAL, spoil=None):
        slices = ct_slices(thorax(), affine)
        structures = structure_set(slices, rois, affine)
        if spoil:
            spoil(structures)
        save(slices, tmp_path / "ct")
        save([structures], tmp_path / "rt", names=["rt.dcm"])
        scan = find_series(tmp_path)
        assert scan.annotations[0].refers_to(scan.series[0])
        return scan.series[0], tmp_path / "rt" / "rt.dcm"

    return write


def _mirrored():
    affine = AXIAL.copy()
    affine[2, 2] *= -1
    return affine


@pytest.mark.parametrize(
    ("affine", "turned"), [(AXIAL, 1), (oblique(), 1), (_mirrored(), -1)], ids=["axial", "oblique", "reversed"]
)
def test_contours_are_filled_where_they_were_drawn_with_their_holes(drawn, affine, turned):
    series, path = drawn([("GTV-1", [(BOX, 3), (HOLE, 3), (BOX, 4)])], affine)

    masks = read_rtstruct(path, series)

    expected = np.zeros((40, 36, 9), np.uint8)
    expected[3:9, 4:10, 3:5] = 1
    expected[4:6, 5:7, 3] = 0
    assert_array_equal(masks["GTV-1"], expected[:, :, ::turned])
    assert masks["GTV-1"].dtype == np.uint8


def test_contours_between_slices_go_to_the_nearest_and_planes_of_one_slice_are_joined(drawn):
    series, path = drawn([("GTV-1", [(BOX, 3.2), (HOLE, 2.8)])])

    mask = read_rtstruct(path, series)["GTV-1"]

    assert mask.sum() == 36
    assert mask[:, :, 3].sum() == 36


def test_regions_are_chosen_by_an_expression_that_ignores_case(drawn):
    series, path = drawn([("GTV-1", [(BOX, 3)]), ("gtv-2", [(BOX, 4)]), ("Lung L", [(BOX, 5)]), ("Empty", [])])

    assert sorted(read_rtstruct(path, series, roi="GTV.*")) == ["GTV-1", "gtv-2"]
    assert sorted(read_rtstruct(path, series)) == ["GTV-1", "Lung L", "gtv-2"]


def test_two_regions_of_one_name_are_united(drawn):
    series, path = drawn([("GTV", [(BOX, 3)]), ("Lung", [(BOX, 5)]), ("GTV", [(HOLE, 3), (BOX, 4)])])

    mask = read_rtstruct(path, series, roi="GTV")["GTV"]

    assert_array_equal(mask.sum(axis=(0, 1)), [0, 0, 0, 36, 36, 0, 0, 0, 0])


TRACED = ((10, 5), (14, 8))  # runs through the centres of the outermost pixels of 5 × 4


@pytest.mark.parametrize(("border", "voxels"), [("auto", 20), ("include", 20), ("exclude", 6)])
def test_the_border_belongs_to_a_region_whose_points_all_lie_on_pixel_centres(drawn, border, voxels):
    series, path = drawn([("GTV", [(TRACED, 3), (TRACED, 4)])])

    (region,) = read_regions(path, series, border=border)

    assert_array_equal(region.mask.sum(axis=(0, 1)), [0, 0, 0, voxels, voxels, 0, 0, 0, 0])
    assert region.through_centres


def test_one_point_between_centres_makes_the_rule_of_low_sides_count(drawn):
    series, path = drawn([("GTV", [(TRACED, 3), (BOX, 4)])])

    (region,) = read_regions(path, series)

    assert_array_equal(region.mask.sum(axis=(0, 1)), [0, 0, 0, 12, 36, 0, 0, 0, 0])
    assert not region.through_centres


def _empty_the_second(structures):
    structures.ROIContourSequence[1].ContourSequence[0].ContourData = None


def _garble_the_second(structures):
    set_odd([structures.ROIContourSequence[1].ContourSequence[0]], ContourData="1\\2\\x")


def _two_numbers_too_many(structures):
    structures.ROIContourSequence[1].ContourSequence[0].ContourData.extend([1, 2])


@pytest.mark.parametrize("spoil", [_empty_the_second, _garble_the_second, _two_numbers_too_many])
def test_a_damaged_region_is_no_matter_until_it_is_asked_for(drawn, spoil):
    series, path = drawn([("GTV", [(BOX, 3)]), ("COUCH", [(BOX, 3)])], spoil=spoil)

    assert read_rtstruct(path, series, roi="GTV")["GTV"].sum() == 36
    assert read_region_names(path, series) == ["GTV", "COUCH"]
    with pytest.raises(ImageError, match=r"a contour has no points, or garbled ones[\s\S]*roi +COUCH"):
        read_rtstruct(path, series, roi="COUCH")


def test_a_region_without_name_or_number_costs_no_other(drawn):
    def spoil(structures):
        del structures.StructureSetROISequence[1].ROINumber
        set_odd([structures.ROIContourSequence[2]], ReferencedROINumber="three")

    series, path = drawn([("GTV", [(BOX, 3)]), ("a", [(BOX, 3)]), ("b", [(BOX, 4)])], spoil=spoil)

    assert list(read_rtstruct(path, series)) == ["GTV"]


def test_a_region_of_another_frame_of_reference_is_not_taken(drawn):
    def spoil(structures):
        structures.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = "1.2.3"

    series, path = drawn([("GTV", [(BOX, 3)]), ("elsewhere", [(BOX, 4)])], spoil=spoil)

    assert list(read_rtstruct(path, series)) == ["GTV"]


def test_points_and_open_lines_are_no_region(drawn):
    def add_point(structures):
        contours = structures.ROIContourSequence[0].ContourSequence
        contours.append(contour(np.zeros((1, 3)), "POINT"))
        contours.append(contour(np.zeros((3, 3)), "OPEN_PLANAR"))

    series, path = drawn([("GTV", [(BOX, 3)])], spoil=add_point)

    assert read_rtstruct(path, series)["GTV"].sum() == 36


@pytest.mark.parametrize(
    ("rois", "roi", "kind", "message"),
    [
        ([("GTV", [(BOX, 3)])], "nodule", LabelError, "no region of the structure set matches"),
        ([("GTV", [])], ".*", LabelError, "none with contours"),
        ([("GTV", [(BOX, 3)])], "GTV(", ConfigError, "no regular expression"),
        ([("GTV", [(BOX, 9)])], ".*", GeometryError, "slice 10.0 of 9"),
    ],
)
def test_a_choice_that_cannot_be_met_is_reported(drawn, rois, roi, kind, message):
    series, path = drawn(rois)

    with pytest.raises(kind) as caught:
        read_rtstruct(path, series, roi=roi)

    assert message in str(caught.value)


def _slant(structures):
    contour = structures.ROIContourSequence[0].ContourSequence[0]
    contour.ContourData = [0, 0, 0, 5, 0, 0, 5, 5, 10, 0, 5, 10]


def _other_series(structures):
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"


def _other_frame(structures):
    structures.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = "1.2.3"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_slant, "a contour is not parallel to the slices"),
        (_other_series, "was made on another series"),
        (_other_frame, "lies in another frame of reference"),
    ],
)
def test_contours_of_elsewhere_are_refused(tmp_path, spoil, message):
    slices = ct_slices(thorax())
    structures = structure_set(slices, [("GTV", [(BOX, 3)])], AXIAL)
    spoil(structures)
    (series,) = find_series(save(slices, tmp_path / "ct")).series
    save([structures], tmp_path / "rt", names=["rt.dcm"])

    with pytest.raises(GeometryError, match=message) as caught:
        read_rtstruct(tmp_path / "rt" / "rt.dcm", series)

    assert "series 1 (9 slices" in str(caught.value)
    assert series.identity.series_uid not in str(caught.value)


def test_another_kind_of_file_is_refused(tmp_path):
    folder = save(ct_slices(thorax()), tmp_path / "ct")
    (series,) = find_series(folder).series

    with pytest.raises(ImageError, match="no structure set"):
        read_rtstruct(folder / "IM0000", series)
    with pytest.raises(ImageError, match="does not exist"):
        read_rtstruct(folder / "nothing", series)


def test_a_mask_over_missing_slices_takes_the_nearest_when_the_series_is_mended(tmp_path):
    slices = ct_slices(thorax())
    structures = structure_set(slices, [("GTV", [(BOX, 2), (BOX, 3), (BOX, 4)])], AXIAL)
    del slices[4]
    (series,) = find_series(save(slices, tmp_path / "ct")).series
    save([structures], tmp_path / "rt", names=["rt.dcm"])

    with pytest.raises(GeometryError, match="slices are missing"):
        read_rtstruct(tmp_path / "rt" / "rt.dcm", series)
    mask = read_rtstruct(tmp_path / "rt" / "rt.dcm", series, repair=("missing",))["GTV"]

    assert_array_equal(mask.sum(axis=(0, 1)), [0, 0, 36, 36, 36, 0, 0, 0, 0])


def test_a_contour_on_a_slice_that_the_series_lacks_is_kept_when_the_series_is_mended(tmp_path):
    slices = ct_slices(thorax())
    structures = structure_set(slices, [("GTV", [(BOX, 3), (HOLE, 4), (BOX, 5)])], AXIAL)
    del slices[4]
    (series,) = find_series(save(slices, tmp_path / "ct")).series
    save([structures], tmp_path / "rt", names=["rt.dcm"])

    mask = read_rtstruct(tmp_path / "rt" / "rt.dcm", series, repair=("missing",))["GTV"]

    assert_array_equal(mask.sum(axis=(0, 1)), [0, 0, 0, 36, 4, 36, 0, 0, 0])


def test_a_mask_on_a_tilted_series_is_made_upright_with_it(tmp_path):
    affine = AXIAL.copy()
    affine[1, 2] = 0.7
    slices = ct_slices(thorax(), affine)
    structures = structure_set(slices, [("GTV", [(BOX, 2), (BOX, 3)])], affine)
    (series,) = find_series(save(slices, tmp_path / "ct")).series
    save([structures], tmp_path / "rt", names=["rt.dcm"])

    mask = read_rtstruct(tmp_path / "rt" / "rt.dcm", series, repair=("tilt",))["GTV"]

    assert mask.shape == (40, 36 + 8, 9)
    assert mask[3:9, 6:12, 2].sum() == mask[3:9, 7:13, 3].sum() == 36
    assert mask.sum() == 72


@pytest.mark.realdata
@pytest.mark.skipif(not ROOT.is_dir(), reason="SEGPIPE_REALDATA names no folder with the real CT")
@pytest.mark.parametrize(("name", "voxels"), [("LUNG1-001", 54_449), ("LUNG1-002", 125_204)])
def test_the_tumour_of_a_real_patient_has_the_published_size(name, voxels):
    scan = find_series(ROOT / "nsclc_radiomics" / name)

    masks = read_rtstruct(scan.annotations[0].file, scan.series[0], roi="GTV-1")

    assert masks["GTV-1"].sum() == pytest.approx(voxels, rel=0.01)


@pytest.mark.realdata
@pytest.mark.skipif(not ROOT.is_dir(), reason="SEGPIPE_REALDATA names no folder with the real CT")
def test_contours_of_a_real_planning_system_are_filled_as_lines(tmp_path):
    scan = find_series(ROOT / "4d_lung" / "113_HM10395")

    (tumour,) = read_regions(scan.annotations[0].file, scan.series[0], roi="Tumor_c40")

    assert tumour.mask.sum() == 23_611
    assert not tumour.through_centres
