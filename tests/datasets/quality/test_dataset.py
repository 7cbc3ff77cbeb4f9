"""Every defect made on purpose is reported, with its level, and a clean data set is not blamed."""

import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segpipe.case import Case, Volume
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.quality.case import check_case, find_body
from segpipe.datasets.quality.dataset import check_dataset
from segpipe.datasets.quality.thumbnails import OUTLINE, draw_thumbnail, ras_view
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.report.quality_page import write_quality

LABELS = {1: "nodule"}
SHAPE, MM = (60, 40, 20), (5.0, 5.0, 5.0)
GRID = Grid(SHAPE, np.diag([*MM, 1.0]))
INSIDE, BETWEEN, FLESH, OUTSIDE = (18, 20, 10), (30, 20, 10), (7, 6, 10), (1, 1, 10)


def _thorax(seed=0):
    """A box of flesh with two boxes of lung in air, 300×200×100 mm."""
    hu = np.full(SHAPE, -1000.0)
    hu[5:55, 3:37] = 40
    hu[12:26, 10:30, 2:18] = hu[34:48, 10:30, 2:18] = -850
    return (hu + np.random.default_rng(seed).normal(0, 5, SHAPE)).round().astype(np.int16)


def _lesion(at=INSIDE):
    mask = np.zeros(SHAPE, np.uint8)
    x, y, z = at
    mask[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2] = 1
    return mask


def _entry(folder, case="a", *, image=None, mask=None, mask_grid=GRID, at=INSIDE):
    mask = _lesion(at) if mask is None else mask
    if image is None:
        image = _thorax(seed=zlib.crc32(case.encode()))
        image[mask > 0] = 30
    image_file = write_volume(folder / f"{case}_image.nii.gz", image, Grid(image.shape, GRID.affine))
    mask_file = write_volume(folder / f"{case}_mask.nii.gz", mask, Grid(mask.shape, mask_grid.affine))
    return Entry(case, f"patient_{case}", image_file, mask_file)


def _reported(entry):
    return [(issue.level, issue.kind) for issue in check_case(entry, LABELS).issues]


def test_a_good_case_has_no_remark_and_its_facts(tmp_path):
    found = check_case(_entry(tmp_path), LABELS)
    assert found.issues == ()
    assert found.facts["spacing_mm"] == [5.0, 5.0, 5.0]
    assert found.facts["extent_mm"] == [300.0, 200.0, 100.0]
    assert found.facts["lesions"] == 1
    assert found.facts["lesion_mm3"] == 27 * 125
    assert found.facts["orientation"] == "RAS"


def test_all_that_is_wrong_with_a_case_is_reported_at_once(tmp_path):
    entry = _entry(tmp_path, image=_thorax().astype(np.float32) * np.where(_lesion(), np.nan, 1), mask=_lesion() * 7)
    assert _reported(entry) == [("error", "bad labels"), ("error", "bad voxels")]


def test_both_files_are_looked_at_when_one_is_damaged(tmp_path):
    entry = _entry(tmp_path)
    entry.image.write_bytes(entry.image.read_bytes()[:200])
    entry.mask.unlink()
    found = check_case(entry, LABELS)
    assert [(issue.level, issue.kind) for issue in found.issues] == [
        ("error", "unreadable image"),
        ("error", "unreadable mask"),
    ]
    assert not any("file" in issue.facts or str(tmp_path) in issue.message for issue in found.issues)


@pytest.mark.parametrize(
    ("change", "kind", "level"),
    [
        (lambda hu: (np.clip(hu, -1000, 400) + 1000) / 1400 * 255, "not HU", "error"),
        (lambda hu: np.clip(hu + 1024, 0, None), "not HU", "error"),
        (lambda hu: hu / 20, "not HU", "warning"),
        (lambda hu: np.clip(hu, -300, None), "no air", "warning"),
        (lambda hu: hu * 0 + 7, "bad voxels", "error"),
    ],
)
def test_values_that_are_not_hu_are_reported(tmp_path, change, kind, level):
    entry = _entry(tmp_path, image=change(_thorax().astype(np.float32)).astype(np.int16))
    assert (level, kind) in _reported(entry)


def test_grids_that_differ_are_reported(tmp_path):
    moved = GRID.affine.copy()
    moved[0, 3] = 30
    assert _reported(_entry(tmp_path, mask_grid=Grid(SHAPE, moved))) == [("error", "grids differ")]
    assert ("error", "grids differ") in _reported(_entry(tmp_path, "b", image=_thorax(), mask=_lesion()[:-1]))


def test_fractional_labels_are_reported(tmp_path):
    assert _reported(_entry(tmp_path, mask=_lesion() * np.float32(0.5))) == [("error", "bad labels")]


def test_masks_of_the_wrong_series_are_reported(tmp_path):
    assert _reported(_entry(tmp_path, "air", image=_thorax(), at=OUTSIDE)) == [
        ("warning", "lesion like lung"),
        ("error", "lesion outside the body"),
    ]
    assert _reported(_entry(tmp_path, "shifted", image=_thorax())) == [("warning", "lesion like lung")]
    assert _reported(_entry(tmp_path, "between the lungs", image=_thorax(), at=BETWEEN)) == []
    assert _reported(_entry(tmp_path, "flesh", image=_thorax(), at=FLESH)) == [("warning", "lesion outside the lungs")]


def test_lungs_in_the_mask_are_no_lesion(tmp_path):
    mask = _lesion()
    image = _thorax()
    lungs = image < -700
    lungs[:5] = lungs[55:] = lungs[:, :3] = lungs[:, 37:] = False
    mask[lungs & (mask == 0)] = 2
    image[mask == 1] = 30
    swapped = np.array([0, 2, 1], np.uint8)[mask]

    for drawn, labels in ((mask, {1: "nodule", 2: "lung"}), (swapped, {1: "lung", 2: "Tumor"})):
        found = check_case(_entry(tmp_path, image=image, mask=drawn), labels)
        assert (found.issues, found.facts["lesions"], found.facts["lesion_mm3"]) == ((), 1, 27 * 125)


def test_lesions_of_several_labels_are_counted_apart_and_together(tmp_path):
    mask = _lesion() + 2 * _lesion(BETWEEN)
    mask[INSIDE] = 2
    image = _thorax()
    image[mask == 1], image[mask == 2] = 30, -400
    entry, labels = _entry(tmp_path, image=image, mask=mask), {1: "solid", 2: "ground_glass", 3: "cyst"}
    facts = check_case(entry, labels).facts
    assert (facts["lesions"], facts["lesion_mm3"]) == (2, 54 * 125)
    assert facts["classes"] == {
        "solid": {"lesions": 1, "lesion_mm3": 26 * 125, "median_hu": 30.0},
        "ground_glass": {"lesions": 2, "lesion_mm3": 28 * 125, "median_hu": -400.0},
        "cyst": {"lesions": 0, "lesion_mm3": 0.0, "median_hu": None},
    }
    quality = check_dataset(Manifest("test", "nifti", (entry,), labels), workers=0, progress=False)
    assert quality.class_counts == {"solid": 1, "ground_glass": 2, "cyst": 0}
    _, page = write_quality(quality, tmp_path)
    text = page.read_text()
    assert '<div class="name">of them ground_glass</div><div class="value">2</div>' in text
    assert "ground_glass 2, 3,500 mm³, median -400 HU<br>" in text
    assert "cyst 0, 0 mm³</div>" in text


def test_empty_missing_and_inverted_masks_are_reported(tmp_path):
    assert _reported(_entry(tmp_path, "empty", mask=_lesion() * 0)) == [("warning", "empty mask")]
    assert _reported(replace(_entry(tmp_path, "none"), mask=None)) == [("warning", "no mask")]
    assert ("warning", "huge lesion") in _reported(_entry(tmp_path, "inverted", image=_thorax(), mask=1 - _lesion()))


def test_in_a_crop_body_and_lungs_are_not_looked_for(tmp_path):
    crop = (slice(12, 24), slice(14, 26), slice(5, 15))
    image, mask = _thorax(), _lesion()
    image[mask > 0] = 30
    assert _reported(_entry(tmp_path, image=image[crop], mask=mask[crop])) == []


def test_the_body_is_filled_with_its_lungs():
    body = find_body(Case("a", _thorax(), GRID)).array
    assert int(body.sum()) == 50 * 34 * 20
    assert body[5:55, 3:37].all()


def _check(*entries):
    quality = check_dataset(Manifest("test", "nifti", entries, LABELS), workers=0, progress=False)
    return quality, {(issue.case, issue.level, issue.kind) for issue in quality.issues}


def test_the_same_scan_under_two_names_is_reported(tmp_path):
    one, other, third = (_entry(tmp_path, case) for case in "abc")
    duplicate = replace(other, image=one.image, mask=one.mask)
    assert _check(one, duplicate, third)[1] == {("a", "error", "identical scans"), ("b", "error", "identical scans")}
    same = replace(duplicate, patient=one.patient)
    assert _check(one, same)[1] == {("a", "warning", "identical scans"), ("b", "warning", "identical scans")}


def test_a_patient_in_two_splits_is_reported(tmp_path):
    one = replace(_entry(tmp_path, "a"), split="train", patient="p")
    other = replace(_entry(tmp_path, "b"), split="test", patient="p")
    assert _check(one, other)[1] == {("a", "error", "patient in two splits"), ("b", "error", "patient in two splits")}


def test_outliers_of_voxel_size_and_extent_are_reported(tmp_path):
    entries = [_entry(tmp_path, f"c{i}") for i in range(6)]
    big = Grid(SHAPE, GRID.affine @ np.diag([3.0, 3.0, 3.0, 1.0]))
    image, mask = _thorax(), _lesion()
    image[mask > 0] = 30
    write_volume(entries[2].image, image, big)
    write_volume(entries[2].mask, mask, big)
    assert _check(*entries)[1] == {("c2", "warning", "unusual voxel size"), ("c2", "warning", "unusual extent")}


def test_errors_come_first_and_are_counted(tmp_path):
    quality, _ = _check(_entry(tmp_path, "a", mask=_lesion() * 0), _entry(tmp_path, "b", mask=_lesion() * 2))
    assert [(issue.level, issue.case) for issue in quality.issues] == [("error", "b"), ("warning", "a")]
    assert (quality.count("error"), quality.count("warning")) == (1, 1)
    content = quality.to_dict()
    assert (content["cases"], content["errors"], content["warnings"]) == (2, 1, 1)
    assert content["issues"][0]["kind"] == "bad labels"
    assert content["facts"]["a"]["lesions"] == 0


def test_a_thumbnail_shows_the_outline_with_right_on_the_left(tmp_path):
    volume = Volume(_thorax(), GRID)
    picture = np.array(Image.open(io.BytesIO(draw_thumbnail(volume, _lesion(at=(50, 30, 10)) > 0))))
    assert picture.shape == (147, 220, 3)
    rows, columns = np.nonzero((picture == OUTLINE).all(axis=2))
    assert columns.max() < 110  # x grows to the patient's right, which is drawn on the left
    assert rows.max() < 73  # y grows to the front, which is drawn at the top


def test_views_turn_any_axes_to_ras():
    array = np.arange(24).reshape(2, 3, 4)
    affine = np.array([[0, 0, -1.5, 0], [-2, 0, 0, 0], [0, 3, 0, 0], [0, 0, 0, 1.0]])
    view, spacing = ras_view(array, Grid((2, 3, 4), affine))
    assert spacing == (1.5, 2.0, 3.0)
    assert view.shape == (4, 2, 3)
    assert view[0, 0, 0] == array[1, 0, 3]
    assert view[3, 1, 2] == array[0, 2, 0]


def test_a_case_that_cannot_be_checked_is_an_issue_and_the_others_are_checked(tmp_path, monkeypatch):
    check = check_case

    def run_out(entry, labels):
        if entry.id == "b":
            raise MemoryError
        return check(entry, labels)

    monkeypatch.setattr("segpipe.datasets.quality.dataset.check_case", run_out)
    entries = tuple(_entry(tmp_path, case) for case in "abc")
    quality = check_dataset(Manifest("test", "nifti", entries, LABELS), workers=0, progress=False)
    (issue,) = quality.issues
    assert (issue.level, issue.kind, issue.case) == ("error", "case cannot be checked", "b")
    assert issue.message == "MemoryError: the memory does not suffice for this case"
    assert [bool(case.facts) for case in quality.cases] == [True, False, True]
