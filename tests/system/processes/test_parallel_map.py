"""The same work on many cases: every case has its result or its error, whatever a process does."""

import os
import signal
import weakref

import pytest

from segpipe.errors import ImageError, OutputError
from segpipe.system.processes import parallel_map as module
from segpipe.system.processes.parallel_map import parallel_map


class Result:
    def __init__(self, item):
        self.item = item


def work(item):
    if item == "bad":
        raise ImageError("cannot be read")
    if item == "odd":
        raise MemoryError
    if item == "threads":
        import torch

        return torch.get_num_threads()
    if item == "unpicklable":
        return lambda: None
    if item == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return item.upper()


def run(items, workers):
    found = dict(parallel_map(work, items, name=lambda item: f"case {item}", workers=workers))
    return [found[index] for index in range(len(items))]


@pytest.mark.parametrize("workers", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_bad_items_are_named_and_the_others_done(workers):
    first, bad, odd, last = run(["a", "bad", "odd", "b"], workers)
    assert (first, last) == ("A", "B")
    assert (type(bad), bad.facts) == (ImageError, {"case": "case bad"})
    assert odd.message == "MemoryError: the memory does not suffice for this case"
    assert odd.facts == {"case": "case odd"}


@pytest.mark.slow
def test_a_process_of_several_computes_in_one_thread_also_where_mkl_was_given_more(monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    assert run(["threads", "threads"], 2) == [1, 1]


@pytest.mark.slow
def test_a_killed_process_costs_its_item_alone():
    items = ["a", "deadly", "b", "unpicklable", "c", "deadly", "d"]
    found = run(items, workers=2)
    assert [one for one in found if isinstance(one, str)] == ["A", "B", "C", "D"]
    for index in (1, 5):
        assert "was killed, most likely for lack of memory" in found[index].message
        assert found[index].facts == {"case": "case deadly"}
    assert found[3].facts == {"case": "case unpicklable"}
    assert "pickle" in found[3].message


@pytest.mark.slow
def test_processes_that_never_work_are_not_started_for_every_item():
    with pytest.raises(OutputError, match="processes for the work end before they do any") as caught:
        run(["deadly"] * 20, workers=2)
    assert caught.value.facts == {"in a row": module.MOST_DEATHS}
    assert '__name__ == "__main__"' in caught.value.hint


@pytest.mark.slow
def test_results_that_were_taken_are_kept_no_longer():
    taken = []
    for _, result in parallel_map(Result, ["a", "b", "c"], name=str, workers=2):
        taken.append(weakref.ref(result))
        del result
        assert sum(one() is not None for one in taken) == 1  # the one before it is gone
    assert len(taken) == 3


def test_no_items_are_no_work():
    assert run([], workers=None) == []


def test_a_log_has_a_line_with_the_title(capfd):
    assert dict(parallel_map(work, ["a"], name=str, title="working", workers=0)) == {0: "A"}
    assert capfd.readouterr().err.startswith("working: 1 of 1 cases in 0:00")


def test_without_a_title_or_work_nothing_is_said(capfd):
    assert dict(parallel_map(work, ["a"], name=str, workers=0)) == {0: "A"}
    assert dict(parallel_map(work, [], name=str, title="working")) == {}
    assert capfd.readouterr().err == ""
