"""What cuts a lesion: the borders of the scan, as the patient sees them, and that of the window."""

import numpy as np
import pytest

from segpipe.geometry import Grid
from segpipe.inference.measurements.borders import find_borders, is_cut, whole_scan

SHAPE = (40, 30, 20)
INNER = slice(5, 9)
AFFINES = {
    "RAS": np.diag([1.0, 1.0, 3.0, 1.0]),
    "LPS": np.diag([-1.0, -1.0, 3.0, 1.0]),
    "ASR": np.array([[0, 0, 2.0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]]),
}


def box(*, axis=None, ends=INNER):
    """A box within the scan but for one axis."""
    return tuple(ends if number == axis else INNER for number in range(3))


def cut_by(part, *, name="RAS", seen=None):
    grid = Grid(SHAPE, AFFINES[name])
    return find_borders(part, seen or whole_scan(grid), grid).cut_by


@pytest.mark.parametrize(
    ("name", "axis", "first", "last"),
    [
        ("RAS", 0, "left side", "right side"),
        ("RAS", 1, "back", "front"),
        ("RAS", 2, "lower end", "upper end"),
        ("LPS", 0, "right side", "left side"),
        ("LPS", 1, "front", "back"),
        ("LPS", 2, "lower end", "upper end"),
        ("ASR", 0, "back", "front"),
        ("ASR", 1, "lower end", "upper end"),
        ("ASR", 2, "left side", "right side"),
    ],
)
def test_a_border_of_the_scan_has_the_patients_name(name, axis, first, last):
    count = SHAPE[axis]
    assert cut_by(box(axis=axis, ends=slice(0, 4)), name=name) == f"{first} of the scan"
    assert cut_by(box(axis=axis, ends=slice(count - 4, count)), name=name) == f"{last} of the scan"
    assert cut_by(box(axis=axis, ends=slice(1, count - 1)), name=name) is None


def test_a_lesion_can_reach_several_borders():
    part = (slice(0, 3), INNER, slice(0, SHAPE[2]))
    assert cut_by(part) == "upper end of the scan, lower end of the scan, left side of the scan"


def test_the_window_cuts_where_the_scan_goes_on():
    grid, seen = Grid(SHAPE, AFFINES["RAS"]), (slice(0, 12), slice(2, 12), slice(2, 20))
    inside, at_window, at_scan = (slice(3, 11),) * 3, box(axis=0, ends=slice(8, 12)), box(axis=0, ends=slice(0, 4))
    assert [is_cut(part, seen, grid) for part in (inside, at_window, at_scan)] == [False, True, False]
    assert cut_by(inside, seen=seen) is None
    assert cut_by(at_window, seen=seen) == "window"
    assert cut_by(at_scan, seen=seen) == "left side of the scan"
    assert cut_by((slice(0, 12), INNER, INNER), seen=seen) == "left side of the scan, window"
