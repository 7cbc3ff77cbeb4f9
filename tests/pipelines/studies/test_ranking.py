"""The ranking of a study, by hand: two cases of two patients, two seeds."""

import pytest

from segpipe.evaluation.reading import Evaluation
from segpipe.pipelines.studies.ranking import rank


def evaluation(*dice: float | None) -> Evaluation:
    cases = [{"case": f"c{number}", "patient": f"p{number}", "dice": value} for number, value in enumerate(dice)]
    return Evaluation("row", {}, cases, [])


def test_the_best_mean_over_cases_and_seeds_comes_first_and_the_others_lie_behind_it():
    best, other = rank(
        {"sgd": [evaluation(0.4, 0.6), evaluation(0.6, 0.8)], "adamw": [evaluation(0.7, 0.9), evaluation(0.7, 0.9)]}
    )
    assert (best.name, best.dice, best.spread, best.behind, best.p) == ("adamw", pytest.approx(0.8), 0.0, None, None)
    assert (other.name, other.dice, other.seeds) == ("sgd", pytest.approx(0.6), 2)
    assert other.spread == pytest.approx(0.2 / 2**0.5)  # means of 0.5 and 0.7
    assert other.behind is not None
    assert other.behind.difference == pytest.approx(-0.2)
    assert other.interval == pytest.approx((0.5, 0.7))
    assert other.p == pytest.approx(0.5)  # of the four ways to swap two patients two give a difference as large


def test_only_cases_that_all_rows_have_count():
    (one, two) = rank({"a": [evaluation(0.5, 0.1)], "b": [evaluation(0.4, None)]})
    assert (one.dice, two.dice) == (0.5, 0.4)
    assert (one.interval, one.spread) == (None, None)


def test_candidates_without_an_evaluation_are_not_ranked():
    assert [one.name for one in rank({"a": [evaluation(0.5)], "b": []})] == ["a"]
    assert rank({"a": []}) == []


def test_with_a_reference_all_others_are_compared_with_it_the_better_ones_too():
    rows = {"default": [evaluation(0.5, 0.5)], "better": [evaluation(0.6, 0.8)], "worse": [evaluation(0.1, 0.1)]}
    better, default, worse = rank(rows, reference="default")
    assert (better.name, default.name, worse.name) == ("better", "default", "worse")
    assert (default.behind, default.p) == (None, None)
    assert better.behind is not None
    assert worse.behind is not None
    assert better.behind.difference == pytest.approx(0.2)
    assert worse.behind.difference == pytest.approx(-0.4)
    assert rank({"a": rows["worse"], "b": rows["better"]}, reference="default")[0].behind is None
