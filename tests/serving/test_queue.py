"""The queue compared with a pencil: what is whole, due, full, looked at again and kept."""

from dataclasses import replace

import pytest

from segpipe.io.pacs.names import instance_name
from tests.serving.queues import DAY_S, names, take


def test_a_series_is_queued_when_it_has_not_grown(queue, clock):
    queue.notice("study", "a", instances=10)
    clock.now += 20
    queue.notice("study", "a", instances=11)
    clock.now += 29
    queue.promote(polled=clock.now, stable_s=30)
    assert queue.take() is None
    clock.now += 1
    queue.notice("study", "a", instances=11)
    queue.promote(polled=clock.now, stable_s=30)
    assert queue.take().series_uid == "a"
    assert queue.take() is None


def test_time_without_a_look_counts_for_nothing(queue, clock):
    """The PACS is away while a series grows from 52 to 192."""
    queue.notice("study", "a", instances=52)
    polled = clock.now
    clock.now += 300
    queue.promote(polled=polled, stable_s=30)
    assert queue.take() is None
    queue.notice("study", "a", instances=192)
    queue.promote(polled=clock.now, stable_s=30)
    assert queue.take() is None


def test_looks_that_are_rarer_than_the_wait(queue, clock):
    """`--stable 1 --poll 5`: between the first two looks the series grows from 30 to 190."""
    queue.notice("study", "a", instances=30)
    polled = clock.now
    clock.now += 2
    queue.promote(polled=polled, stable_s=1)
    assert queue.take() is None
    clock.now += 3
    queue.notice("study", "a", instances=190)
    queue.promote(polled=clock.now, stable_s=1)
    assert queue.take() is None
    clock.now += 5
    queue.notice("study", "a", instances=190)
    queue.promote(polled=clock.now, stable_s=1)
    assert queue.take().listed == 190


def test_each_instance_that_is_received_begins_the_time_again(queue, clock):
    queue.receive("study", "a", instance_name("1"))
    clock.now += 20
    queue.receive("study", "a", instance_name("2"))
    clock.now += 20
    queue.promote(polled=clock.now, stable_s=30)
    assert queue.take() is None
    clock.now += 10
    queue.promote(polled=clock.now, stable_s=30)
    assert queue.take().series_uid == "a"
    assert queue.acknowledged("a") == names(1, 2)


def test_a_reason_that_may_have_gone_is_looked_at_again(queue):
    item = take(queue, instances=10)
    queue.refuse(item, "too large", instances=10)
    queue.reconsider("another reason", keep_s=DAY_S)
    assert take(queue, instances=10) is None
    queue.reconsider("too large", keep_s=DAY_S)
    assert take(queue, instances=10).listed == 10


def test_a_received_series_that_is_still_here_is_tried_again_at_once(queue, clock):
    queue.receive("study", "a", instance_name("1"))
    queue.refuse(take(queue), "too large", instances=1)
    clock.now += 50
    queue.reconsider("too large", keep_s=60)
    assert queue.counts()["arriving"] == 1
    queue.promote(polled=queue.now, stable_s=0)
    queue.refuse(queue.take(), "too large", instances=1)
    clock.now += 70
    queue.reconsider("too large", keep_s=60)
    assert queue.counts()["refused"] == 1


@pytest.mark.parametrize("instances", [9, 12])
def test_a_series_that_is_done_is_looked_at_again_when_another_number_is_listed(queue, instances):
    queue.finish(take(queue, instances=10), names(*range(10)))
    assert take(queue, instances=10) is None
    assert take(queue, instances=None) is None
    item = take(queue, instances=instances)
    assert item.answered == names(*range(10))
    queue.finish(item, names(*range(13)))
    assert take(queue, instances=instances) is None
    assert queue.counts()["done"] == 1


@pytest.mark.parametrize("end", ["finish", "refuse", "give_up", "postpone"])
def test_what_grows_in_work_is_on_its_way_again_whatever_becomes_of_the_work(queue, end):
    queue.receive("study", "a", instance_name("1"))
    item = take(queue)
    queue.receive("study", "a", instance_name("2"))
    ends = {"finish": [names(1)], "refuse": ["no lungs"], "give_up": ["a fault"], "postpone": ["away"]}
    getattr(queue, end)(item, *ends[end], **({"delay_s": 8} if end == "postpone" else {}))
    assert queue.counts()["arriving"] == 1
    assert queue.acknowledged("a") == (names(2) if end == "finish" else names(1, 2))


def test_what_comes_again_in_work_is_still_to_be_answered(queue):
    queue.receive("study", "a", instance_name("1"))
    item = take(queue)
    queue.receive("study", "a", instance_name("1"))
    queue.finish(item, names(1))
    assert queue.acknowledged("a") == names(1)
    again = take(queue)
    queue.finish(again, names(1))
    assert queue.acknowledged("a") == frozenset()
    assert queue.counts()["done"] == 1


def test_faults_are_counted_until_a_series_grows(queue):
    queue.postpone(replace(take(queue, instances=5), faults=3, surprises=2), "a fault", delay_s=0)
    item = queue.take()
    assert (item.faults, item.surprises) == (3, 2)
    queue.notice("study", "a", instances=6)
    queue.postpone(replace(item, faults=4), "a fault", delay_s=0)
    item = take(queue, instances=6)
    assert (item.faults, item.surprises) == (0, 0)


def test_a_full_queue_takes_no_more_until_one_is_done(queue):
    assert queue.notice("study", "a")
    assert queue.receive("study", "b", instance_name("1"))
    assert not queue.notice("study", "c")
    assert not queue.receive("study", "c", instance_name("1"))
    assert queue.acknowledged("c") == frozenset()
    assert queue.notice("study", "a")
    queue.finish(take(queue), names(1))
    assert queue.receive("study", "c", instance_name("1"))


def test_a_postponed_series_waits_its_time(queue, clock):
    queue.postpone(take(queue), "away", delay_s=8)
    assert queue.take() is None
    clock.now += 8
    assert queue.take().tries == 2


def test_those_that_wait_take_turns(queue, clock):
    """What stood first and was put back does not stand first again."""
    queue.notice("study", "a")
    queue.promote(polled=clock.now, stable_s=0)
    clock.now += 1
    queue.notice("study", "b")
    queue.promote(polled=clock.now, stable_s=0)
    assert queue.take().series_uid == "a"
    clock.now += 1
    queue.put_back()
    queue.promote(polled=clock.now, stable_s=0)
    assert queue.take().series_uid == "b"


def test_a_refused_series_is_looked_at_again_when_it_has_grown(queue):
    queue.refuse(take(queue, instances=10), "slices are missing", instances=10)
    assert take(queue, instances=10) is None
    assert take(queue, instances=12).listed == 12
    assert queue.open_series() == {"a"}


def test_a_received_series_that_was_refused_is_looked_at_again_when_the_pacs_has_another_number(queue):
    queue.receive("study", "a", instance_name("1"))
    queue.refuse(take(queue), "slices are missing", instances=1)
    assert take(queue, instances=1) is None
    assert take(queue, instances=12).listed == 12


def test_what_is_refused_unseen_is_counted_once_and_takes_no_room(queue):
    assert queue.refuse_unseen("study", "a", "modality MR, not CT")
    assert not queue.refuse_unseen("study", "a", "modality MR, not CT")
    assert queue.refuse_unseen("study", "b", "modality MR, not CT")
    assert queue.reasons() == {"modality MR, not CT": 2}
    assert queue.room() == 2
    assert queue.open_series() == set()


def test_images_are_kept_of_what_waits_and_for_a_while_of_what_was_received_and_refused(queue, clock):
    take(queue, series="listed", instances=3)
    queue.receive("study", "received", instance_name("1"))
    clock.now += 10
    queue.promote(polled=clock.now, stable_s=0)
    assert queue.kept_series(keep_s=60) == {"listed", "received"}
    queue.refuse(queue.take(), "no lungs", instances=1)
    clock.now += 59
    assert queue.kept_series(keep_s=60) == {"listed", "received"}
    clock.now += 1
    assert queue.kept_series(keep_s=60) == {"listed"}


def test_another_model_answers_again_and_adopts_what_waits(queue, reopen):
    queue.finish(take(queue, series="done"), names(1))
    queue.receive("study", "waits", instance_name("1"))
    queue.notice("study", "grows", instances=5)
    other = reopen("m2")
    other.resume(keep_s=DAY_S)
    assert other.counts() == {"arriving": 2, "queued": 0, "working": 0, "done": 0, "refused": 0, "failed": 0}
    assert not other.notice("study", "done")  # there is room for two
    other.promote(polled=other.now, stable_s=0)
    queued = {other.take().series_uid for _ in range(2)}
    assert queued == {"waits", "grows"}


def test_what_is_adopted_is_discharged_by_its_answer(queue, reopen):
    """The former model has counted more growths than this one."""
    for number in range(5):
        queue.receive("study", "a", instance_name(str(number)))
    other = reopen("m2")
    other.resume(keep_s=DAY_S)
    other.finish(take(other), names(*range(5)))
    assert other.acknowledged("a") == frozenset()
    assert other.counts()["done"] == 1
