"""Contours are filled as a pencil would, and filling a traced mask gives the mask back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from segpipe.io.dicom.rtstruct.contours import (
    border_pixels,
    fill_contours,
    fill_region,
    runs_through_centres,
    trace_mask,
)


def _square(low, high):
    return np.array([[low, low], [high, low], [high, high], [low, high]], dtype=float)


def _filled(*contours, shape=(12, 10)):
    return fill_contours(contours, shape)


def test_a_square_holds_the_centres_inside_it():
    region = _filled(_square(1.5, 4.5))

    assert_array_equal(np.argwhere(region).min(axis=0), [2, 2])
    assert_array_equal(np.argwhere(region).max(axis=0), [4, 4])
    assert region.sum() == 9


def test_of_centres_on_the_contour_the_low_side_counts():
    assert_array_equal(np.argwhere(_filled(_square(2, 4))), [[2, 2], [2, 3], [3, 2], [3, 3]])


def test_a_contour_inside_another_is_a_hole_and_one_in_the_hole_is_an_island():
    region = _filled(_square(0.5, 8.5), _square(2.5, 6.5), _square(3.5, 5.5))

    assert region.sum() == 64 - 16 + 4


def test_the_turn_of_a_contour_does_not_matter():
    assert_array_equal(_filled(_square(1.5, 4.5)[::-1]), _filled(_square(1.5, 4.5)))


def test_a_contour_given_twice_counts_once():
    assert _filled(_square(1.5, 4.5), _square(1.5, 4.5)).sum() == 9


@pytest.mark.parametrize("points", [0, 1, 2])
def test_a_point_or_a_line_holds_nothing(points):
    assert _filled(_square(1.5, 4.5)[:points]).sum() == 0


def test_what_lies_beyond_the_image_is_cut_off():
    assert _filled(_square(-3.5, 2.5)).sum() == 9
    assert _filled(_square(20.5, 30.5)).sum() == 0
    assert _filled(_square(-30.5, 30.5)).sum() == 120


def test_a_triangle_has_the_area_of_a_triangle():
    region = fill_contours([np.array([[0.0, 0.0], [400.0, 0.0], [0.0, 300.0]])], (512, 512))

    assert region.sum() == pytest.approx(400 * 300 / 2, rel=0.005)


@settings(deadline=None)
@given(cut=st.integers(1, 6))
def test_neighbours_that_share_an_edge_neither_overlap_nor_gap(cut):
    left = np.array([[0, 0], [cut, 0], [cut, 8], [0, 8]], dtype=float)
    right = np.array([[cut, 0], [8, 0], [8, 8], [cut, 8]], dtype=float)

    total = _filled(left).astype(int) + _filled(right).astype(int)

    assert_array_equal(total, _filled(_square(0, 8)).astype(int))


@settings(deadline=None)
@given(mask=arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_filling_what_was_traced_gives_the_mask(mask):
    assert_array_equal(fill_contours(trace_mask(mask), mask.shape), mask)


def test_an_empty_mask_has_no_outline():
    assert trace_mask(np.zeros((4, 4), bool)) == []


def test_pixels_on_a_contour_are_found_between_its_points_too():
    triangle = np.array([[1, 1], [5, 1], [5, 3]])

    on_border = np.argwhere(border_pixels([triangle.astype(float)], (8, 6)))

    assert on_border.tolist() == [[1, 1], [2, 1], [3, 1], [3, 2], [4, 1], [5, 1], [5, 2], [5, 3]]


@pytest.mark.parametrize("points", [[[2, 3]], [[2, 3], [4, 3]]])
def test_a_traced_point_and_line_are_regions_of_their_own_pixels(points):
    region = fill_region([np.array(points, float)], (8, 6), border=True)

    assert region.sum() == (1 if len(points) == 1 else 3)


@pytest.mark.parametrize(("off", "traced"), [(0.0, True), (0.0007, True), (0.0105, False), (0.5, False)])
def test_only_what_rounding_takes_off_counts_as_on_the_centre(off, traced):
    """A planning system (Pinnacle3) draws a hundredth of a pixel off the centres, and means lines, not pixels."""
    assert runs_through_centres([_square(2, 5) + off, _square(3, 4) - off]) is traced


def test_pixels_beyond_the_image_are_cut_off():
    square = np.array([[-3.0, -3], [9, -3], [9, 9], [-3, 9]])

    assert fill_region([square], (8, 6), border=True).all()


@given(arrays(np.bool_, (9, 7)))
def test_a_mask_traced_half_way_between_pixels_never_counts_as_traced_through_centres(mask):
    lines = trace_mask(mask)

    assert not runs_through_centres(lines)
    for border in (None, True, False):
        assert_array_equal(fill_region(lines, mask.shape, border=border), mask)
