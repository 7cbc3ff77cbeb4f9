"""Slices form a regular grid, or are refused with numbers that a pencil gives, or are mended when asked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.transform import Rotation

from segpipe.errors import ConfigError, GeometryError
from segpipe.geometry import flip_ras_lps, to_world
from segpipe.io.dicom.series.files import DicomFile
from segpipe.io.dicom.series.planes import Plane
from segpipe.io.dicom.series.stack import assemble, stack_planes


def _planes(places_mm, *, rotation=None, shear=(0.0, 0.0), origin=(10.0, -20.0, 30.0)):
    """Slices of 6×5 pixels (0.8 mm along rows, 0.7 mm along columns) at these mm along the normal."""
    axes = np.eye(3) if rotation is None else rotation
    planes = []
    for number, place in enumerate(places_mm):
        sideways = place * (shear[0] * axes[:, 0] + shear[1] * axes[:, 1])
        planes.append(
            Plane(
                file=DicomFile(Path(f"{number}")),
                frame=0,
                shape=(5, 6),
                position_mm=np.array(origin) + place * axes[:, 2] + sideways,
                directions=axes[:, :2].T,
                spacing_mm=(0.8, 0.7),
                rescale=(1.0, 0.0),
                order=(1, number, 0),
                uid=str(number),
            )
        )
    return planes


def _even(count=10, step=2.5):
    return [step * k for k in range(count)]


def test_slices_are_ordered_by_place_and_not_by_file():
    planes = _planes(_even())

    stack = stack_planes(planes[::-1])

    assert [plane.uid for plane in stack.planes] == [str(k) for k in range(10)]
    assert stack.grid.shape == (6, 5, 10)
    assert_allclose(flip_ras_lps(stack.grid.affine)[:3, 3], [10, -20, 30])
    assert_allclose(stack.grid.spacing_mm, (0.8, 0.7, 2.5))
    assert stack.repairs == ()


def test_positions_rounded_to_one_decimal_are_even():
    stack = stack_planes(_planes([round(0.625 * k, 1) for k in range(200)]))

    assert stack.grid.spacing_mm[2] == pytest.approx(0.625, abs=1e-3)


@pytest.mark.parametrize(
    ("places", "message", "found"),
    [
        (
            [place for place in _even() if place not in (7.5, 10.0, 17.5)],
            "slices are missing",
            "3 of 10 slices: 2 after slice 3, 1 after slice 5",
        ),
        ([*_even(), 5.0, 5.005], "several slices lie at one place", "2 more slices than the 10 places"),
        (
            [*_even(9), 21.0],
            "slices are unevenly spaced",
            "distances from 1.000 to 2.500 mm",
        ),
        ([0, 2, 4, 6, 9, 12, 15], "slices are unevenly spaced", "distances from 2.000 to 3.000 mm"),
    ],
)
def test_a_defect_is_reported_with_its_numbers(places, message, found):
    with pytest.raises(GeometryError, match=message) as caught:
        stack_planes(_planes(places))

    assert caught.value.facts["found"] == found
    assert caught.value.hint


def test_a_tilted_gantry_is_reported_with_its_angle():
    planes = _planes(_even(), shear=(0.0, np.tan(np.radians(15))))

    with pytest.raises(GeometryError, match="the gantry was tilted") as caught:
        stack_planes(planes)

    assert caught.value.facts["found"] == "15.00°, the last slice is 6.0 mm off the first"


def test_all_defects_are_reported_together():
    places = [place for place in _even() if place != 7.5]

    with pytest.raises(GeometryError) as caught:
        stack_planes([*_planes(places, shear=(0.1, 0.0)), _planes([5.0], shear=(0.1, 0.0))[0]])

    text = str(caught.value)
    assert "3 mistakes" in text
    assert all(part in text for part in ("lie at one place", "slices are missing", "gantry was tilted"))


@pytest.mark.parametrize(
    ("taken", "reported"),
    [
        (["1", "2"] * 5, True),
        (["1"] * 5 + ["2"] * 5, False),
        (["1", "2", "3", "4", "5", "5", "4", "3", "2", "1"], True),
        ([str(k) for k in range(10)], False),
        (["3", "1", "9", "7", "5", "2", "8", "4", "6", "0"], False),
        ([""] * 10, False),
        (
            [
                "120000.0",
                "120000.0",
                "120001.5",
                "120001.5",
                "120003",
                "120003",
                "120004.5",
                "120004.5",
                "120006",
                "120006",
            ],
            False,
        ),
    ],
)
def test_acquisitions_that_lie_between_each_other_are_said(taken, reported):
    planes = [replace(plane, taken=("", when)) for plane, when in zip(_planes(_even()), taken, strict=True)]

    stack = stack_planes(planes)

    text = f"slices of {len(set(taken))} acquisitions alternate and are read as one scan"
    assert stack.remarks == ((text,) if reported else ())


def test_slices_that_wander_sideways_cannot_be_mended():
    planes = _planes(_even())
    planes[4].position_mm[0] += 3.0

    with pytest.raises(GeometryError, match="shifted sideways"):
        stack_planes(planes, repair=("duplicate", "missing", "uneven", "tilt"))


def test_one_slice_is_no_scan():
    with pytest.raises(GeometryError, match="more than one slice"):
        stack_planes(_planes([0.0]))


def test_an_unknown_repair_is_reported():
    with pytest.raises(ConfigError, match="unknown repair"):
        stack_planes(_planes(_even()), repair=("magic",))


def test_of_copies_the_first_acquired_is_kept_when_asked():
    stack = stack_planes([*_planes(_even()), *_planes([5.0])], repair=("duplicate",))

    assert len(stack.planes) == 10
    assert stack.planes[2].order == (1, 0, 0)
    assert stack.repairs == ("duplicate: 1 more slices than the 10 places",)


def _ramp(places_mm):
    """Pixels whose value is 100 times their place in mm."""
    return np.broadcast_to(100 * np.array(places_mm), (6, 5, len(places_mm))).astype(np.int16)


def test_missing_slices_are_interpolated_when_asked_and_marked():
    places = [0.0, 2.0, 4.0, 10.0, 12.0]
    stack = stack_planes(_planes(places), repair=("missing",))

    filled = assemble(stack, _ramp(places))

    assert_array_equal(filled[0, 0], [0, 200, 400, 600, 800, 1000, 1200])
    assert stack.repairs == ("missing: 2 of 7 slices: 2 after slice 3",)


def test_uneven_slices_are_interpolated_at_the_median_distance_when_asked():
    places = [0.0, 2.0, 4.0, 6.0, 8.0, 9.0, 12.0, 14.0]
    stack = stack_planes(_planes(places), repair=("uneven",))

    filled = assemble(stack, _ramp(places))

    assert stack.grid.spacing_mm[2] == pytest.approx(2.0)
    assert_array_equal(filled[0, 0], [0, 200, 400, 600, 800, 1000, 1200, 1400])


def test_a_mask_between_slices_takes_the_nearest():
    places = [0.0, 2.0, 4.0, 6.0, 8.0, 14.0]
    slices = np.zeros((6, 5, 6), np.uint8)
    slices[:, :, 5] = 7
    stack = stack_planes(_planes(places), repair=("missing",))

    assert_array_equal(assemble(stack, slices, mask=True)[0, 0], [0, 0, 0, 0, 0, 0, 7, 7])


@pytest.mark.parametrize("shear", [(0.4, 0.0), (-0.4, 0.0), (0.2, -0.7)])
def test_a_tilt_is_resampled_so_that_every_bright_pixel_stays_in_its_place(shear):
    """Each slice has one bright pixel at index (3, 2); its world position must not change."""
    planes = _planes(_even(), shear=shear)
    slices = np.full((6, 5, 10), -1024, np.int16)
    slices[3, 2] = 1000
    stack = stack_planes(planes, repair=("tilt",))

    upright = assemble(stack, slices)

    assert upright.shape == stack.upright.shape
    weights = upright.astype(float) + 1024
    for k, plane in enumerate(planes):
        indices = np.argwhere(weights[:, :, k] > 0)
        positions = to_world(flip_ras_lps(stack.upright.affine), np.c_[indices, np.full(len(indices), k)])
        centre = np.average(positions, axis=0, weights=weights[indices[:, 0], indices[:, 1], k])
        expected = plane.position_mm + 3 * 0.8 * plane.directions[0] + 2 * 0.7 * plane.directions[1]
        assert_allclose(centre, expected, atol=0.02)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(5, 40),
    step=st.floats(0.4, 10),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_every_pixel_of_any_orientation_lies_where_its_slice_says(seed, count, step, origin):
    rng = np.random.default_rng(seed)
    planes = _planes(_even(count, step), rotation=Rotation.random(random_state=seed).as_matrix(), origin=origin)
    shuffled = [planes[k] for k in rng.permutation(count)]

    stack = stack_planes(shuffled)

    column, row, number = rng.integers(6), rng.integers(5), rng.integers(count)
    plane = planes[number]
    expected = plane.position_mm + column * 0.8 * plane.directions[0] + row * 0.7 * plane.directions[1]
    assert_allclose(flip_ras_lps(to_world(stack.grid.affine, [column, row, number])), expected, atol=1e-6)
    assert stack.planes[number] is plane


@settings(deadline=None, max_examples=60)
@given(count=st.integers(8, 60), step=st.floats(0.5, 10), data=st.data())
def test_any_one_missing_slice_is_noticed(count, step, data):
    places = _even(count, step)
    del places[data.draw(st.integers(1, count - 2))]

    with pytest.raises(GeometryError, match="slices are missing"):
        stack_planes(_planes(places))
