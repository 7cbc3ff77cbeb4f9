"""A quantity has drifted where two samples differ by more than luck and by enough to matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.evaluation.comparison.paired_tests import benjamini_hochberg
from segpipe.evaluation.drift.comparing import FEWEST, find_shifts, smallest_effect


def test_apart_by_hand():
    (shift,) = find_shifts({"a": [1.0, 2.0, 3.0, 4.0]}, {"a": [11.0, 12.0, 13.0, 14.0]})
    assert (shift.stored, shift.new, shift.counts) == (2.5, 12.5, (4, 4))
    assert shift.effect == 1.0
    assert shift.p == pytest.approx(2 / 70)  # two of the C(8, 4) ways to deal the values are as far apart
    assert shift.drifted


def test_half_apart_by_hand():
    (shift,) = find_shifts({"a": [1.0, 2.0, 3.0, 4.0]}, {"a": [3.0, 4.0, 5.0, 6.0]})
    assert shift.effect == 0.5
    assert not shift.drifted


def test_the_same_values_are_no_drift():
    (shift,) = find_shifts({"a": [1.0] * 50}, {"a": [1.0] * 50})
    assert (shift.effect, shift.p, shift.drifted) == (0.0, 1.0, False)


def test_a_small_effect_does_not_matter_however_sure_it_is():
    stored = list(np.linspace(0, 1, 2000))
    moved = [value + 0.15 for value in stored]
    (shift,) = find_shifts({"a": stored}, {"a": moved})
    assert shift.q < 1e-6
    assert not shift.drifted
    assert find_shifts({"a": stored}, {"a": moved}, least=0.1)[0].drifted


def test_what_has_moved_most_comes_first_and_what_is_not_known_of_both_is_left_out():
    rng = np.random.default_rng(0)
    stored = {name: list(rng.normal(0, 1, 40)) for name in "abcd"}
    new = {"a": list(rng.normal(0, 1, 40)), "b": list(rng.normal(3, 1, 40)), "c": [0.0] * (FEWEST - 1)}
    shifts = find_shifts(stored, new)
    assert [shift.quantity for shift in shifts] == ["b", "a"]
    assert [shift.drifted for shift in shifts] == [True, False]


def test_alike_scans_seldom_give_an_alarm():
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        stored, new = ({str(name): list(rng.normal(0, 1, 30)) for name in range(10)} for _ in range(2))
        alarms += any(shift.drifted for shift in find_shifts(stored, new))
    assert alarms <= 16  # 5 % of 200 and two standard deviations


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=50)
def test_corrected_p_values_are_larger_and_in_the_same_order(p_values):
    corrected = benjamini_hochberg(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    order = np.argsort(p_values)
    assert all(np.diff(np.array(corrected)[order]) >= 0)


def test_more_scans_show_smaller_effects():
    assert smallest_effect(100, 100, quantities=16) > smallest_effect(1000, 1000, quantities=16)
    smirnov = 1.358  # of his table, for 5 %
    assert smallest_effect(100, 100, quantities=1) == pytest.approx(smirnov * np.sqrt(2 / 100), abs=1e-3)
