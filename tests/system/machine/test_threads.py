"""Threads: they follow the container and sleep soon, unless the user has said otherwise."""

import pytest

from segpipe.system.machine import threads as module
from segpipe.system.machine.threads import settle_threads

SLEEPING = {"GOMP_SPINCOUNT": "20000", "KMP_BLOCKTIME": "1"}


def settled(monkeypatch, *, affine, available, **given):
    monkeypatch.setattr(module, "affine_cores", lambda: affine)
    monkeypatch.setattr(module, "available_cores", lambda: available)
    settle_threads(given)
    return given


def test_threads_sleep_soon_and_their_number_is_left_to_the_affinity(monkeypatch):
    assert settled(monkeypatch, affine=8, available=8) == SLEEPING


def test_there_are_no_more_threads_than_the_container_grants(monkeypatch):
    assert settled(monkeypatch, affine=8, available=2) == {**SLEEPING, "OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("OMP_NUM_THREADS", SLEEPING),
        ("OMP_WAIT_POLICY", {"OMP_NUM_THREADS": "2"}),
        ("GOMP_SPINCOUNT", {"OMP_NUM_THREADS": "2", "KMP_BLOCKTIME": "1"}),
        ("KMP_BLOCKTIME", {"OMP_NUM_THREADS": "2", "GOMP_SPINCOUNT": "20000"}),
    ],
)
def test_what_the_user_has_set_stays(monkeypatch, name, others):
    assert settled(monkeypatch, affine=8, available=2, **{name: "own"}) == {name: "own", **others}
