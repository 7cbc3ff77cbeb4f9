"""What one scan shows of a place in the other."""

import numpy as np
import pytest

from segpipe.case import Volume
from segpipe.geometry import Grid, to_world
from segpipe.inference.follow_up.matching import match_findings
from segpipe.inference.follow_up.views import Views
from tests.inference.follow_up.test_matching import ISOTROPIC, SEEN, body, finding


def test_a_lesion_that_is_cut_by_the_edge_of_the_earlier_scan_is_not_new():
    """The earlier scan ends at 158 mm; 10 mm of the lesion's 20 mm would lie beyond."""
    views = Views(Grid((100, 100, 40), SEEN.affine), SEEN, np.eye(4))
    assert views.in_earlier((100, 100, 140), radius_mm=10)
    assert not views.in_earlier((100, 100, 155), radius_mm=10)
    (course,) = match_findings([], [finding(1, (100.0, 100, 155), diameter=20.0)], views, days=None)
    assert course.status == "not seen before"


def test_the_patients_motion_is_followed_in_both_directions():
    shift = np.eye(4)
    shift[2, 3] = 50.0
    short = Grid((100, 100, 40), SEEN.affine)
    views = Views(short, short, shift)
    assert views.in_earlier((100, 100, 100), radius_mm=5)  # 50 mm in the earlier scan
    assert not views.in_earlier((100, 100, 20), radius_mm=5)  # −30 mm
    assert views.in_later((100, 100, 50), radius_mm=5)  # 100 mm in the later scan
    assert not views.in_later((100, 100, 130), radius_mm=5)  # 180 mm


@pytest.fixture(scope="module")
def half_moved():
    """Two scans that are aligned in their lower half; in the upper one the later scan shows something else."""
    image = body()
    later = image.copy()
    later[:, :, 24:] = np.roll(image[:, :, 24:], 20, axis=0)
    grid = Grid(image.shape, ISOTROPIC)
    return Views(grid, grid, np.eye(4), (Volume(image, grid), Volume(later, grid)))


def test_a_lesion_where_the_scans_are_not_aligned_is_neither_new_nor_gone(half_moved):
    low, high = (to_world(ISOTROPIC, [32, 28, z]).tolist() for z in (12, 36))
    new = match_findings([], [finding(1, low), finding(2, high)], half_moved, days=None)
    assert [course.status for course in new] == ["new", "not seen before"]
    lost = match_findings([finding(1, low), finding(2, high)], [], half_moved, days=None)
    assert [course.status for course in lost] == ["gone", "not covered"]


def test_the_lesion_itself_does_not_speak_against_the_alignment():
    image = body()
    later = image.copy()
    later[26:39, 22:35, 18:31] = 60  # a mass of 52 mm
    grid = Grid(image.shape, ISOTROPIC)
    views = Views(grid, grid, np.eye(4), (Volume(image, grid), Volume(later, grid)))
    centre = to_world(ISOTROPIC, [32, 28, 24])
    assert views.in_earlier(centre, radius_mm=45)  # as far as the mass's corners


def test_a_place_without_any_contrast_is_not_aligned():
    grid = Grid((40, 40, 40), ISOTROPIC)
    flat = Volume(np.full(grid.shape, -900, np.int16), grid)
    views = Views(grid, grid, np.eye(4), (flat, flat))
    assert not views.in_earlier(to_world(ISOTROPIC, [20, 20, 20]), radius_mm=5)
