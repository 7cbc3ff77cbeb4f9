"""How well cases of a training are guessed, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.evaluation.membership import measure_membership
from segpipe.evaluation.results import CaseResult


def results(*values, patients=None, prefix="p"):
    patients = patients or [f"{prefix}{number}" for number in range(len(values))]
    return [
        CaseResult(f"{patient}-{number}", patient, "no", {} if dice is None else {"dice": dice}, 1.0, 1.0)
        for number, (dice, patient) in enumerate(zip(values, patients, strict=True))
    ]


def test_the_auc_is_the_share_of_pairs_in_which_the_trained_case_is_better():
    """0.9 is above both, 0.8 above one and equal to the other, 0.5 above none: (2 + 1.5 + 0) of 6."""
    found = measure_membership(results(0.9, 0.8, 0.5), results(0.8, 0.6, None, prefix="q"))
    assert found["auc"] == pytest.approx(3.5 / 6)
    assert found["dice"] == {"trained_on": pytest.approx(2.2 / 3), "held_out": pytest.approx(0.7)}
    assert found["cases"] == {"trained_on": 3, "held_out": 2}
    low, high = found["ci95"]
    assert 0 <= low < 3.5 / 6 < high <= 1


def test_what_gives_every_case_away_is_one_and_no_difference_is_a_half():
    assert measure_membership(results(0.9, 0.8), results(0.7, 0.1, prefix="q"))["auc"] == 1
    assert measure_membership(results(0.9, 0.8), results(0.7, 0.1, prefix="q"))["ci95"] == [1, 1]
    assert measure_membership(results(0.7, 0.7), results(0.7, prefix="q"))["auc"] == 0.5


def test_patients_are_drawn_whole():
    """Two patients, one on each side: every draw with both has the same pairs, whatever the number of their cases."""
    found = measure_membership(results(0.9, 0.4, patients=["a", "a"]), results(0.6, 0.5, 0.3, patients=["b", "b", "b"]))
    assert found["auc"] == pytest.approx((3 + 1) / 6)
    assert found["ci95"] == pytest.approx([4 / 6, 4 / 6])


def test_nothing_is_known_without_cases_of_both_kinds():
    for members, others in ((results(0.9), []), ([], results(0.9)), (results(None), results(0.5, prefix="q"))):
        found = measure_membership(members, others)
        assert (found["auc"], found["ci95"]) == (None, None)


DICE = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=8)


@given(DICE, DICE)
def test_exchanging_both_kinds_mirrors_the_auc(inside, outside):
    one, other = results(*inside), results(*outside, prefix="q")
    there, back = measure_membership(one, other)["auc"], measure_membership(other, one)["auc"]
    assert there + back == pytest.approx(1)
    assert there == pytest.approx(np.mean([np.sign(a - b) / 2 + 0.5 for a in inside for b in outside]))
