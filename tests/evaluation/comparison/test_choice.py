"""The cheapest that the best is not surely better than is taken, and what that is worth is measured on other cases."""

import numpy as np
import pytest

from segpipe.evaluation.comparison.choice import Candidate, choose, choose_nested

PATIENTS = [f"p{number}" for number in range(8)]
CONSTANT = np.full(8, 0.9)
SWINGING = np.array([0.7, 1.0] * 4)


def taken(*candidates: tuple[str, np.ndarray, tuple[int, ...]]) -> str:
    return choose([Candidate(*one) for one in candidates], PATIENTS).taken


def test_the_best_is_taken_where_it_is_better_in_every_case():
    choice = choose([Candidate("one", CONSTANT - 0.1, (1, 5)), Candidate("two", CONSTANT, (2, 10))], PATIENTS)
    assert (choice.taken, choice.best) == ("two", "two")
    assert choice.behind["one"].interval == pytest.approx((-0.1, -0.1))
    assert list(choice.behind) == ["one"]


def test_the_cheaper_is_taken_where_the_best_may_be_luck():
    choice = choose([Candidate("one", SWINGING, (1, 5)), Candidate("two", CONSTANT, (2, 10))], PATIENTS)
    assert (choice.taken, choice.best) == ("one", "two")
    low, high = choice.behind["one"].interval
    assert low < 0 < high


def test_runs_count_before_weights_and_of_equally_cheap_ones_the_better_is_taken():
    assert taken(("light pair", CONSTANT, (2, 1)), ("heavy one", SWINGING, (1, 9))) == "heavy one"
    assert taken(("light", SWINGING, (1, 1)), ("heavy", CONSTANT, (1, 9))) == "light"
    assert taken(("worse", SWINGING, (1, 5)), ("better", CONSTANT, (1, 5))) == "better"
    assert taken(("same", CONSTANT, (2, 5)), ("same, cheaper", CONSTANT, (1, 5))) == "same, cheaper"


def test_of_one_patient_nothing_is_sure():
    candidates = [Candidate("one", CONSTANT - 0.1, (1,)), Candidate("two", CONSTANT, (2,))]
    assert choose(candidates, ["p"] * 8).taken == "one"


def test_a_candidate_is_measured_on_a_fold_that_did_not_choose_it():
    first, second = np.array([1.0] * 4 + [0.0] * 4), np.array([0.0] * 4 + [1.0] * 4)
    candidates = [Candidate("first", first, (1,)), Candidate("second", second, (1,))]
    nested = choose_nested(candidates, PATIENTS, [0] * 4 + [1] * 4)
    assert nested.taken == {0: "second", 1: "first"}  # each is best where it is not measured
    assert (nested.mean, nested.interval) == (0.0, (0.0, 0.0))
    assert first.mean() == second.mean() == 0.5


def test_where_the_choice_is_plain_it_costs_nothing():
    candidates = [Candidate("bad", CONSTANT - 0.5, (1,)), Candidate("good", CONSTANT, (1,))]
    nested = choose_nested(candidates, PATIENTS, [0, 1] * 4)
    assert nested.taken == {0: "good", 1: "good"}
    assert nested.mean == pytest.approx(0.9)
