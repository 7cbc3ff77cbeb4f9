import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.evaluation import bootstrap
from segpipe.evaluation.bootstrap import interval_of_mean, patient_weights, percentile_interval


def test_cases_of_one_patient_are_drawn_together():
    weights = patient_weights(["a", "b", "a", "c"], seed=3, resamples=50)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_the_draw_does_not_depend_on_the_order_of_cases():
    forth, back = (
        interval_of_mean([1.0, 2.0, 5.0], ["a", "b", "c"]),
        interval_of_mean([5.0, 2.0, 1.0], ["c", "b", "a"]),
    )
    assert forth == pytest.approx(back)


def test_many_cases_are_drawn_in_parts_of_the_same_resamples(monkeypatch):
    patients = ["a", "b", "b", "c"]
    monkeypatch.setattr(bootstrap, "MOST_WEIGHTS", 4 * 700)
    parts = list(bootstrap._weights_in_parts(patients, seed=5))
    assert [len(part) for part in parts] == [700, 700, 600]
    assert (np.concatenate(parts) == patient_weights(patients, seed=5)).all()


def test_one_patient_has_no_interval_however_many_cases():
    assert interval_of_mean([0.1, 0.9, 0.5], ["a", "a", "a"]) is None


def test_the_interval_of_many_patients_is_that_of_the_normal_law():
    values = np.random.default_rng(0).normal(10.0, 2.0, size=400)
    low, high = interval_of_mean(values.tolist(), [str(number) for number in range(400)])
    half = 1.96 * values.std() / 20  # standard error of the mean of 400
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_the_interval_leaves_a_fortieth_of_the_values_at_either_end():
    assert percentile_interval(np.append(np.arange(1001.0), np.nan)) == pytest.approx((25.0, 975.0))
    assert percentile_interval(np.array([np.nan])) is None


def test_duplicated_cases_of_the_same_patients_do_not_narrow_the_interval():
    once = interval_of_mean([0.2, 0.4, 0.9], ["a", "b", "c"])
    thrice = interval_of_mean([0.2, 0.4, 0.9] * 3, ["a", "b", "c"] * 3)
    assert once == pytest.approx(thrice)


@given(st.lists(st.floats(min_value=-5, max_value=5), min_size=2, max_size=12))
def test_an_interval_lies_between_the_extremes(values):
    low, high = interval_of_mean(values, [str(number) for number in range(len(values))])
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9


def test_undefined_resamples_are_left_out():
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert percentile_interval(np.array([np.nan])) is None
