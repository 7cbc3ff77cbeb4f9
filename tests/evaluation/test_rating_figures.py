import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from segpipe.evaluation.rating_figures import RatedNodules, calibration_error, quadratic_kappa, rating_figures

GRADES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30)


def certain(*grades: int) -> np.ndarray:
    return np.eye(5)[list(grades)]


def test_figures_by_hand():
    """Grades 0 1 2 3 4, of which the model mistakes the 3 for a 1."""
    nodules = RatedNodules(np.array([0, 1, 2, 3, 4]), certain(0, 1, 2, 1, 4), list("abcde"))
    figures = rating_figures(nodules)
    # upper {3, 4} against lower {0, 1}: of four pairs three are right and one is a tie
    assert figures["auc"]["mean"] == pytest.approx(3.5 / 4)
    assert figures["accuracy"]["mean"] == pytest.approx(4 / 5)
    # squared error 4; by chance, of 25 pairs, grades 0…4 against 0 1 2 1 4: 30 + 15 + 10 + 15 + 30 = 100 → 100/5 = 20
    assert figures["kappa"]["mean"] == pytest.approx(1 - 4 / 20)
    assert figures["kappa_of_mean"] == figures["kappa"]
    assert figures["calibration_error"]["mean"] == pytest.approx(1 / 5)
    assert figures["log_loss"]["mean"] == pytest.approx(-np.log(1e-9) / 5)


def test_the_median_is_shown_and_the_mean_ranks():
    """Two of three would give a 1 and one a 5: the mean of 7/3 is none of these."""
    nodules = RatedNodules(np.array([0]), np.array([[2 / 3, 0, 0, 0, 1 / 3]]), ["a"])
    assert nodules.predicted.tolist() == [0]
    assert nodules.confidence.tolist() == [2 / 3]
    assert nodules.means.tolist() == pytest.approx([4 / 3])


def test_intervals_hold_the_figure_and_need_two_patients():
    levels = np.array([0, 4, 0, 4, 1, 3, 0, 4])
    probabilities = np.full((8, 5), 0.1) + 0.5 * np.eye(5)[levels[::-1]]
    several = rating_figures(RatedNodules(levels, probabilities, list("aabbccdd")))["accuracy"]
    assert several["ci95"][0] <= several["mean"] <= several["ci95"][1]
    assert rating_figures(RatedNodules(levels, probabilities, ["a"] * 8))["accuracy"]["ci95"] is None


def test_one_grade_alone_has_no_auc():
    assert rating_figures(RatedNodules(np.array([4, 4]), certain(4, 4), ["a", "b"]))["auc"]["mean"] is None


def test_calibration_error_by_hand():
    """Two bins: 0.95 of which all are right, and 0.55 of which none is."""
    error = calibration_error(np.array([0.95, 0.95, 0.55, 0.55]), np.array([True, True, False, False]))
    assert error == pytest.approx((2 * 0.05 + 2 * 0.55) / 4)


@given(GRADES)
def test_kappa_is_that_of_scikit_learn(pairs):
    first, second = np.array(pairs).T
    assume(len({*first, *second}) > 1)  # else neither is defined
    expected = cohen_kappa_score(first, second, weights="quadratic", labels=range(5))
    assert quadratic_kappa(first, second, grades=5) == pytest.approx(expected)


@given(st.integers(0, 2**32 - 1))
def test_auc_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    levels, probabilities = np.array([0, 1, 3, 4, *rng.integers(0, 5, 12)]), rng.dirichlet(np.ones(5), 16)
    nodules = RatedNodules(levels, probabilities, [str(number) for number in range(16)])
    kept = levels != 2
    expected = roc_auc_score(levels[kept] > 2, nodules.means[kept])
    assert rating_figures(nodules)["auc"]["mean"] == pytest.approx(expected)
