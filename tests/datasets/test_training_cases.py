"""Fewer training cases, patient by patient, each smaller choice within the larger ones; and old cases as well."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segpipe.datasets.splits import assign_roles
from segpipe.datasets.training_cases import limit_training, rehearse, without_rehearsed
from segpipe.errors import DatasetError
from tests.datasets.test_splits import _manifest

ROLES = assign_roles(_manifest([f"p{number // 2}" for number in range(20)]), fold=0, folds=5, seed=1)


def ids(manifest, role="train"):
    return {entry.id for entry in manifest.entries if entry.split == role}


def test_a_number_and_a_share_of_the_training_cases():
    assert len(ids(ROLES)) == 16
    for limit, count in ((10, 10), (0.5, 8), (0.3, 5), (0.01, 1), (16, 16)):
        kept = limit_training(ROLES, limit, seed=1)
        assert len(ids(kept)) == count
        assert ids(kept, "test") == ids(ROLES, "test")
        assert ids(kept, None) == ids(ROLES) - ids(kept)


def test_a_patient_is_taken_whole_before_the_next_one():
    kept = limit_training(ROLES, 6, seed=1)
    assert len({entry.patient for entry in kept.entries if entry.split == "train"}) == 3


@given(few=st.integers(1, 16), many=st.integers(1, 16), seed=st.integers(0, 9))
def test_fewer_cases_are_among_more(few, many, seed):
    smaller, larger = (ids(limit_training(ROLES, limit, seed=seed)) for limit in sorted((few, many)))
    assert smaller <= larger


def test_more_cases_than_there_are_are_refused():
    with pytest.raises(DatasetError, match=r"fewer training cases than data\.limit") as caught:
        limit_training(ROLES, 17, seed=1)
    assert caught.value.facts == {"data.limit": 17, "training cases": 16}


def test_old_training_cases_join_under_names_of_their_own_and_held_out_ones_do_not():
    new = assign_roles(_manifest(["a", "b"]), fold=0, folds=2, seed=0)
    joined = rehearse(new, ROLES)
    assert ids(joined) == ids(new) | {f"rehearsal_{name}" for name in ids(ROLES)}
    assert ids(joined, "test") == ids(new, "test")
    assert without_rehearsed(joined) == new
    patients = {entry.patient for entry in joined.entries}
    assert patients >= {"a", "b"}
    assert all(name in ("a", "b") or name.startswith("rehearsal_p") for name in patients)


def test_masks_must_mean_the_same():
    with pytest.raises(DatasetError, match="must have the same values"):
        rehearse(ROLES, replace(ROLES, labels={1: "lung", 2: "nodule"}))
