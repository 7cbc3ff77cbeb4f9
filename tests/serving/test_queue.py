"""The queue is told apart by hand: what is stable, due, full, and what a kill leaves."""

import pytest

from segpipe.errors import OutputError
from segpipe.serving.queue import FETCHED, RECEIVED, Queue


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(tmp_path, clock):
    opened = Queue(tmp_path / "queue.sqlite", model="m1", bound=2, clock=clock)
    yield opened
    opened.close()


@pytest.mark.parametrize("source", [FETCHED, RECEIVED])
def test_a_reason_that_may_have_gone_is_looked_at_again(queue, source):
    queue.notice("study", "a", source=source, instances=10 if source == FETCHED else None)
    queue.promote(stable_s=0)
    queue.refuse(queue.take(), "too large")
    queue.reconsider("another reason")
    queue.notice("study", "a", instances=10 if source == FETCHED else None)
    assert queue.counts()["refused"] == 1
    queue.reconsider("too large")
    queue.notice("study", "a", instances=10)
    queue.promote(stable_s=0)
    assert queue.take().source == FETCHED


def test_a_series_is_queued_when_it_has_not_grown(queue, clock):
    queue.notice("study", "a", instances=10)
    clock.now += 20
    queue.notice("study", "a", instances=11)
    clock.now += 20
    assert queue.promote(stable_s=30) == 0
    queue.notice("study", "a", instances=11)
    clock.now += 10
    assert queue.promote(stable_s=30) == 1
    assert queue.take().series_uid == "a"
    assert queue.take() is None


def test_a_series_that_is_done_is_never_queued_again(queue):
    queue.notice("study", "a", instances=10)
    queue.promote(stable_s=0)
    queue.finish(queue.take())
    queue.notice("study", "a", instances=12)
    queue.promote(stable_s=0)
    assert queue.take() is None
    assert queue.counts()["done"] == 1


def test_a_full_queue_takes_no_more_until_one_is_done(queue):
    assert queue.notice("study", "a")
    assert queue.notice("study", "b")
    assert not queue.notice("study", "c")
    assert queue.notice("study", "a")
    queue.promote(stable_s=0)
    queue.finish(queue.take())
    assert queue.notice("study", "c")


def test_a_postponed_series_waits_its_time(queue, clock):
    queue.notice("study", "a")
    queue.promote(stable_s=0)
    queue.postpone(queue.take(), "away", delay_s=8)
    assert queue.take() is None
    clock.now += 8
    assert queue.take().tries == 2


def test_a_killed_worker_loses_nothing(tmp_path, queue):
    queue.notice("study", "a")
    queue.promote(stable_s=0)
    queue.take()
    again = Queue(tmp_path / "queue.sqlite", model="m1", bound=2)
    assert again.resume() == 1
    assert again.take().series_uid == "a"
    again.close()


def test_a_series_in_whose_work_the_worker_dies_five_times_is_given_up(queue):
    queue.notice("study", "a")
    queue.promote(stable_s=0)
    for left in (1, 1, 1, 1, 0):
        queue.take()
        assert queue.resume() == left
    assert queue.counts()["failed"] == 1
    assert queue.reasons() == {"the worker died of it": 1}


def test_a_refused_series_is_looked_at_again_when_it_has_grown(queue):
    queue.notice("study", "a", instances=10)
    queue.promote(stable_s=0)
    queue.refuse(queue.take(), "slices are missing")
    queue.notice("study", "a", instances=10)
    assert queue.counts()["refused"] == 1
    queue.notice("study", "a", instances=12)
    assert queue.counts()["arriving"] == 1
    assert queue.open_series() == {"a"}


def test_what_is_refused_unseen_is_counted_once_and_takes_no_room(queue):
    assert queue.refuse_unseen("study", "a", "modality MR, not CT")
    assert not queue.refuse_unseen("study", "a", "modality MR, not CT")
    assert queue.refuse_unseen("study", "b", "modality MR, not CT")
    assert queue.reasons() == {"modality MR, not CT": 2}
    assert queue.room() == 2
    assert queue.open_series() == set()


def test_faults_are_counted_apart_from_waiting(queue):
    queue.notice("study", "a")
    queue.promote(stable_s=0)
    queue.postpone(queue.take(), "away", delay_s=0)
    queue.postpone(queue.take(), "fault", delay_s=0, fault=True)
    job = queue.take()
    assert (job.tries, job.faults) == (3, 1)


def test_each_instance_that_is_received_begins_the_time_again(queue, clock):
    queue.notice("study", "a", source=RECEIVED)
    clock.now += 20
    queue.notice("study", "a", source=RECEIVED)
    clock.now += 20
    assert queue.promote(stable_s=30) == 0
    clock.now += 10
    assert queue.promote(stable_s=30) == 1
    assert queue.take().source == RECEIVED


def test_another_model_answers_again(tmp_path, queue):
    queue.notice("study", "a")
    queue.promote(stable_s=0)
    queue.finish(queue.take())
    other = Queue(tmp_path / "queue.sqlite", model="m2", bound=2)
    other.notice("study", "a")
    assert other.promote(stable_s=0) == 1
    other.close()


def test_no_uid_in_a_repr(queue):
    queue.notice("1.2.3", "4.5.6")
    queue.promote(stable_s=0)
    assert "1.2.3" not in repr(job := queue.take())
    assert "4.5.6" not in repr(job)


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "queue.sqlite").write_text("something else entirely" * 100)
    with pytest.raises(OutputError, match="the queue cannot be opened"):
        Queue(tmp_path / "queue.sqlite", model="m1", bound=2)
