"""Two scans of one patient: alignment, pairs, growth and doubling time."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from segpipe.case import Case, Volume
from segpipe.errors import ImageError
from segpipe.geometry import Grid, to_voxel, to_world
from segpipe.inference.batch.results import write_text
from segpipe.inference.follow_up.comparing import compare_scans, read_predicted
from segpipe.inference.follow_up.matching import match_findings
from segpipe.inference.follow_up.registration import align
from segpipe.inference.follow_up.views import Views
from segpipe.inference.follow_up.words import describe_course, describe_lesion
from segpipe.inference.measurements.slices import TOO_THICK
from segpipe.inference.thumbnail import make_thumbnail, write_thumbnail

SEEN = Grid((100, 100, 100), np.diag([4.0, 4.0, 4.0, 1.0]))
ISOTROPIC = np.diag([-4.0, -4.0, 4.0, 1.0])


def finding(number, centre, volume=500.0, diameter=10.0):
    return {"number": number, "centre_mm": centre, "volume_mm3": volume, "longest_diameter_mm": diameter}


def body(shape=(64, 56, 48)):
    """Soft blobs of tissue and air in an ellipse, the same for every call."""
    noise = gaussian_filter(np.random.default_rng(5).normal(size=shape), 3)
    x, y, z = (np.linspace(-1, 1, count) for count in shape)
    inside = (x[:, None, None] / 0.8) ** 2 + (y[None, :, None] / 0.7) ** 2 + 0 * z <= 1
    tissue = np.where(noise > 0, 40, -850) + 60 * noise / noise.std()
    return np.where(inside, tissue, -1000).astype(np.int16)


def moved(image, affine, motion):
    """The image after the patient moved by `motion` (4×4, RAS+ mm), on the same grid."""
    indices = np.indices(image.shape).reshape(3, -1).T
    before = to_voxel(affine, to_world(np.linalg.inv(motion), to_world(affine, indices)))
    values = map_coordinates(image.astype(float), before.T, order=1, cval=-1000)
    return values.reshape(image.shape).astype(np.int16)


def motion_of(angles, shift):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    motion[:3, 3] = shift
    return motion


def test_findings_are_paired_by_place_and_their_growth_is_reported():
    shift = np.eye(4)
    shift[:3, 3] = (20.0, 0.0, 0.0)
    earlier = [finding(1, (100.0, 100, 100), 1000.0), finding(2, (200.0, 200, 200), 400.0)]
    later = [finding(1, (222.0, 200, 200), 800.0), finding(2, (120.0, 103, 100), 1100.0)]
    first, second = match_findings(earlier, later, Views(SEEN, SEEN, shift), days=100.0)
    assert (first.status, first.earlier, first.later) == ("matched", 1, 2)
    assert first.distance_mm == pytest.approx(3.0)
    assert first.growth_percent == pytest.approx(10.0)
    assert first.change == "within error"
    assert (second.earlier, second.later, second.growth_percent) == (2, 1, pytest.approx(100.0))
    assert second.change == "growth"
    assert second.doubling_days == pytest.approx(100.0)


def test_what_is_only_in_one_scan_is_new_gone_or_not_covered():
    earlier = [finding(1, (100.0, 100, 100)), finding(2, (-50.0, 100, 100))]
    later = [finding(1, (300.0, 300, 300))]
    courses = match_findings(earlier, later, Views(SEEN, SEEN, np.eye(4)), days=None)
    assert [(c.status, c.earlier, c.later) for c in courses] == [
        ("new", None, 1),
        ("gone", 1, None),
        ("not covered", 2, None),
    ]


def test_a_lesion_outside_the_earlier_scan_is_not_called_new():
    """The earlier scan ends 10 mm below the lesion: 40 slices of 4 mm from 0; the patient moved by 50 mm in between."""
    shift = np.eye(4)
    shift[:3, 3] = (0.0, 0.0, 50.0)
    short = Grid((100, 100, 40), SEEN.affine)
    later = [finding(1, (100.0, 100, 218.0)), finding(2, (100.0, 100, 200.0))]
    courses = match_findings([], later, Views(short, SEEN, shift), days=None)
    assert [(c.status, c.later) for c in courses] == [("not seen before", 1), ("new", 2)]


def test_large_lesions_may_be_further_apart_than_small_ones():
    near, far = (100.0, 100, 100), (118.0, 100, 100)
    small = match_findings([finding(1, near)], [finding(1, far)], Views(SEEN, SEEN, np.eye(4)), days=None)
    large = match_findings(
        [finding(1, near)], [finding(1, far, diameter=40.0)], Views(SEEN, SEEN, np.eye(4)), days=None
    )
    assert [course.status for course in small] == ["new", "gone"]
    assert [course.status for course in large] == ["matched"]


def test_a_crowd_is_paired_so_that_all_find_a_partner():
    """Greedy pairing would give 101 to 100 and leave 109, which is 15 mm from 94."""
    earlier = [finding(1, (100.0, 0, 0)), finding(2, (94.0, 0, 0))]
    later = [finding(1, (101.0, 0, 0)), finding(2, (109.0, 0, 0))]
    courses = match_findings(earlier, later, Views(SEEN, SEEN, np.eye(4)), days=None)
    assert [(course.earlier, course.later) for course in courses] == [(1, 2), (2, 1)]


@pytest.mark.parametrize(("angles", "shift"), [((0, 0, 0), (30, -20, 25)), ((4, -3, 6), (8, 15, -12))])
def test_a_moved_patient_is_found_again(angles, shift):
    motion = motion_of(angles, shift)
    image = body()
    grid = Grid(image.shape, ISOTROPIC)
    alignment = align(Volume(image, grid), Volume(moved(image, ISOTROPIC, motion), grid))
    points = to_world(ISOTROPIC, [[20, 20, 15], [40, 35, 30], [32, 28, 24]])
    assert_allclose(to_world(alignment.matrix, points), to_world(motion, points), atol=1.5)
    assert alignment.correlation > 0.9


def test_another_patient_is_refused():
    image = body()
    grid = Grid(image.shape, ISOTROPIC)
    with pytest.raises(ImageError, match="cannot be aligned"):
        align(
            Volume(image, grid), Volume(np.random.default_rng(0).permutation(image.ravel()).reshape(grid.shape), grid)
        )


def test_a_thumbnail_lies_where_the_scan_lies():
    shape = (50, 50, 17)
    affine = np.array([[-0.9, 0.05, 0, 20], [0.05, -0.9, 0, 30], [0, 0, 2.0, -50], [0, 0, 0, 1]])
    x, y, z = np.indices(shape)
    image = (10 * x - 7 * y + 20 * z).astype(np.int16)
    thumbnail = make_thumbnail(Case("a", image, Grid(shape, affine)))
    assert thumbnail.grid.shape == (12, 12, 8)
    assert thumbnail.grid.spacing_mm == pytest.approx((3.6, 3.6, 4.0), rel=0.01)
    index = to_voxel(affine, to_world(thumbnail.grid.affine, [5, 6, 3]))
    assert thumbnail.array[5, 6, 3] == pytest.approx(10 * index[0] - 7 * index[1] + 20 * index[2], abs=1)


def test_a_scan_thinner_than_a_block_has_a_thumbnail():
    image = np.arange(2 * 50 * 2, dtype=np.int16).reshape(2, 50, 2)
    assert make_thumbnail(Case("a", image, Grid(image.shape, np.eye(4)))).grid.shape == (1, 12, 1)


def predicted(folder, name, image, findings):
    case = Case(name, image, Grid(image.shape, ISOTROPIC))
    write_thumbnail(case, folder)
    content = {
        "format": "segpipe-findings-1",
        "scan": name,
        "grid": {"shape": list(image.shape), "affine_ras_mm": ISOTROPIC.tolist()},
        "findings": findings,
    }
    return write_text(folder / f"{name}.json", json.dumps(content))


def test_two_predictions_become_a_follow_up(tmp_path):
    motion = motion_of((2, 0, 3), (10, 5, -8))
    image = body()
    place = to_world(ISOTROPIC, [30, 30, 20])
    earlier = predicted(tmp_path / "a", "first", image, [finding(1, place.tolist(), 200.0)])
    there = to_world(motion, place).tolist()
    later = predicted(tmp_path / "b", "second", moved(image, ISOTROPIC, motion), [finding(1, there, 400.0)])
    content = compare_scans(read_predicted(earlier), read_predicted(later), days=75).to_dict()
    (lesion,) = content["lesions"]
    assert lesion["status"] == "matched"
    assert lesion["growth_percent"] == pytest.approx(100.0)
    assert lesion["doubling_days"] == pytest.approx(75.0)
    assert lesion["distance_mm"] < 1.5
    # balls of 7.26 and 9.14 mm on slices of 4 mm: errors 0.2425 and 0.2001, so ln 2 ± 1.96·0.3144 = 0.077 to 1.309
    assert lesion["change"] == "growth"
    assert (
        "finding 1 was 1: 200 → 400 mm³, +100 % (95 % interval +8 to +270): growth, doubling in 75 days (40 to 675)"
        in describe_lesion(lesion)
    )
    assert (content["earlier"], content["later"]) == ("first", "second")


@pytest.mark.parametrize(
    ("later", "notes", "expected"),
    [
        (
            1050.0,
            (None, None),
            "+5 % (95 % interval -20 to +37): within the error of measurement, doubling in 198 days",
        ),
        (500.0, (None, None), "-50 % (95 % interval -62 to -34): shrinkage, halving in 90 days (65 to 148)"),
        (4000.0, (TOO_THICK, None), "+300 %, but growth is not measurable: slices too thick"),
    ],
)
def test_each_kind_of_change_is_said_in_words(later, notes, expected):
    """Balls of 12.4, 12.6 and 9.8 mm on slices of 1 mm: errors 0.0960, 0.0958 and 0.0993."""
    grid = Grid((100, 100, 100), np.diag([1.0, 1.0, 1.0, 1.0]))
    pair = [
        finding(1, (50.0, 50, 50), volume) | {"slice_note": note}
        for volume, note in zip((1000.0, later), notes, strict=True)
    ]
    (course,) = match_findings(pair[:1], pair[1:], Views(grid, grid, np.eye(4)), days=90)
    assert expected in describe_course(asdict(course))


def test_a_missing_thumbnail_is_reported(tmp_path):
    file = predicted(tmp_path / "a", "first", body(), [])
    (tmp_path / "a" / ".segpipe" / "first.nii.gz").unlink()
    with pytest.raises(ImageError, match="the scan's thumbnail is missing"):
        read_predicted(file)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "other"}'])
def test_a_file_of_something_else_is_reported(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ImageError, match=r"findings"):
        read_predicted(tmp_path / "x.json")


@pytest.mark.slow
@pytest.mark.realdata
def test_two_kernels_of_one_real_scan_are_aligned_where_they_are(realdata):
    from segpipe.io.dicom.series.series import find_series, read_series

    volumes = [
        read_series(find_series(realdata / "lung_pet_ct_dx" / name).series[0])
        for name in ("A0001-series2", "A0001-series3")
    ]
    thumbnails = [make_thumbnail(Case("x", volume.array, volume.grid)) for volume in volumes]
    motion = motion_of((3, -2, 4), (12, -9, 6))
    there = moved(thumbnails[1].array, thumbnails[1].grid.affine, motion)
    alignment = align(thumbnails[0], Volume(there, thumbnails[1].grid))
    shape = np.array(thumbnails[0].grid.shape)
    points = to_world(thumbnails[0].grid.affine, [shape * 0.3, shape * 0.5, shape * 0.7])
    assert_allclose(to_world(alignment.matrix, points), to_world(motion, points), atol=2.0)
    assert alignment.correlation > 0.95


@pytest.mark.parametrize("place", ["shape", "affine_ras_mm"])
def test_a_grid_beyond_all_numbers_is_refused(tmp_path, place):
    """JSON has whole numbers of any length, and Infinity."""
    grid = {"shape": [9, 9, 9], "affine_ras_mm": np.eye(4).tolist()}
    grid[place][0] = float("inf") if place == "shape" else [-(10**400), 0, 0, 0]
    content = {"format": "segpipe-findings-1", "scan": "a", "grid": grid, "findings": []}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ImageError, match="the findings cannot be read"):
        read_predicted(tmp_path / "a.json")
