import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test, ttest_rel

from segpipe.evaluation.comparison.paired_tests import difference_of_means, holm, patient_swaps


def names(count):
    return [f"p{number:03d}" for number in range(count)]


def test_three_patients_by_pencil():
    # Differences 1, 2, 3: of the eight ways to swap only two reach a mean of ±2, so p = 2/8.
    found = difference_of_means(np.zeros(3), np.array([1.0, 2.0, 3.0]), names(3))
    assert (found.first, found.second, found.difference) == (0.0, 2.0, 2.0)
    assert found.p == 0.25


def test_cases_of_one_patient_change_sides_together():
    # Two patients with two cases each: four ways, two of them reach ±2.
    found = difference_of_means(np.zeros(4), np.array([1.0, 3.0, 1.0, 3.0]), ["a", "a", "b", "b"])
    assert found.p == 0.5
    swaps = patient_swaps(["a", "b", "a"])
    assert (swaps[:, 0] == swaps[:, 2]).all()
    assert len(swaps) == 4


def test_equal_runs_differ_by_nothing():
    values = np.array([0.1, 0.7, 0.9])
    found = difference_of_means(values, values, names(3))
    assert (found.difference, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)


def test_the_exact_test_is_that_of_scipy():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.7, 0.1, 10), rng.normal(0.75, 0.1, 10)
    theirs = permutation_test(
        (first, second), lambda a, b, axis: np.mean(b - a, axis=axis), permutation_type="samples", vectorized=True
    )
    assert difference_of_means(first, second, names(10)).p == pytest.approx(theirs.pvalue)


def test_the_drawn_test_is_near_the_t_test_for_many_normal_differences():
    rng = np.random.default_rng(2)
    first = rng.normal(0.7, 0.1, 200)
    second = first + rng.normal(0.01, 0.06, 200)
    found = difference_of_means(first, second, names(200), seed=4)
    assert found.p == pytest.approx(ttest_rel(first, second).pvalue, abs=0.01)
    half = 1.96 * (second - first).std() / np.sqrt(200)
    assert found.interval == pytest.approx((found.difference - half, found.difference + half), abs=0.002)


def test_a_drawn_p_value_is_never_zero():
    assert 0 < difference_of_means(np.zeros(50), np.ones(50), names(50)).p < 0.001


def test_under_the_hypothesis_small_p_values_are_as_rare_as_they_must_be():
    rng = np.random.default_rng(3)
    p_values = [difference_of_means(*rng.normal(size=(2, 8)), names(8)).p for _ in range(300)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_without_a_case_there_is_no_difference():
    assert difference_of_means(np.zeros(0), np.zeros(0), []) is None


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=6))
def test_holm_raises_p_values_in_their_order_and_never_above_one(p_values):
    corrected = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    pairs = sorted(zip(p_values, corrected, strict=True))
    assert [q for _, q in pairs] == sorted(corrected)
    assert min(corrected) == pytest.approx(min(1.0, min(p_values) * len(p_values)))
