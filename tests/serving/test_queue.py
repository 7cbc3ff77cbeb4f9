"""The queue compared with a pencil: what is stable, due, full, and what a kill, a clock or an older version leaves."""

import sqlite3
import threading
from dataclasses import replace

import pytest

from segpipe.errors import OutputError
from segpipe.io.pacs.names import instance_name
from segpipe.serving import queue as queue_module
from segpipe.serving.database import QueueError
from segpipe.serving.policy import is_of_the_disk
from segpipe.serving.queue import Queue

DAY_S = 86400.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("segpipe.serving.policy.FIRST_DELAY_S", 0.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def reopen(tmp_path, clock):
    """Opens the one file; the queue before it is closed."""
    opened = []

    def start(model="m1"):
        for queue in opened:
            queue.close()
        opened[:] = [Queue(tmp_path / "queue.sqlite", model=model, bound=2, clock=clock)]
        return opened[0]

    yield start
    for queue in opened:
        queue.close()


@pytest.fixture
def queue(reopen):
    return reopen()


def take(queue, *, instances=None, series="a"):
    """A series that was listed, was whole and is in work."""
    queue.notice("study", series, instances=instances)
    queue.promote(polled=queue.now, stable_s=0)
    return queue.take()


def names(*numbers):
    return frozenset(instance_name(str(number)) for number in numbers)


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


@pytest.mark.parametrize("end", ["put_back", "death"])
def test_what_has_grown_in_work_that_broke_off_is_not_whole(queue, clock, end):
    queue.receive("study", "a", instance_name("1"))
    take(queue)
    queue.receive("study", "a", instance_name("2"))
    queue.put_back() if end == "put_back" else queue.resume(keep_s=DAY_S)
    queue.promote(polled=clock.now + 29, stable_s=30)
    assert queue.take() is None
    queue.promote(polled=clock.now + 30, stable_s=30)
    assert queue.take().series_uid == "a"


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


def test_a_killed_worker_loses_nothing(queue, reopen):
    take(queue)
    again = reopen()
    assert again.resume(keep_s=DAY_S) == 1
    assert take(again).series_uid == "a"


def test_a_series_in_whose_work_the_worker_dies_five_times_is_given_up(queue):
    take(queue)
    for waiting in (1, 1, 1, 1, 0):
        assert queue.resume(keep_s=DAY_S) == 1
        assert queue.counts()["arriving"] == waiting
        take(queue)
    assert queue.reasons() == {"the worker died of it": 1}


def test_a_wrong_clock_keeps_nothing_waiting(queue, reopen, clock):
    clock.now += 1e9
    queue.notice("study", "a")
    queue.postpone(take(queue, series="b"), "away", delay_s=300)
    clock.now -= 1e9
    again = reopen()
    again.resume(keep_s=DAY_S)
    assert again.take().series_uid == "b"
    clock.now += 30
    again.promote(polled=clock.now, stable_s=30)
    assert again.take().series_uid == "a"


def test_a_start_begins_every_wait_anew(queue, reopen, clock):
    """How long a series has not grown is not known of the time without a worker."""
    queue.notice("study", "a", instances=10)
    clock.now += 1e6
    again = reopen()
    again.resume(keep_s=DAY_S)
    again.promote(polled=clock.now, stable_s=30)
    assert again.take() is None


def test_the_time_of_a_queue_does_not_jump_with_the_clock(tmp_path, monkeypatch):
    queue = Queue(tmp_path / "queue.sqlite", model="m1", bound=2)
    before = queue.now
    monkeypatch.setattr(queue_module.time, "time", lambda: 0.0)
    assert 0 <= queue.now - before < 1000
    queue.close()


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


def test_listings_and_arrivals_at_the_same_time_undo_nothing(queue):
    def arrives():
        for number in range(100):
            queue.receive("study", "a", instance_name(str(number)))

    queue.notice("study", "a", instances=1000)
    sender = threading.Thread(target=arrives)
    sender.start()
    for number in range(100):
        queue.notice("study", "a", instances=number)
    sender.join()
    assert queue.acknowledged("a") == names(*range(100))
    queue.promote(polled=queue.now, stable_s=0)
    assert queue.take().growths == 200


def test_no_uid_in_a_repr(queue):
    queue.receive("1.2.3", "4.5.6", instance_name("7.8.9"))
    queue.promote(polled=queue.now, stable_s=0)
    item = queue.take()
    queue.finish(item, names("7.8.9"))
    assert [secret for secret in ("1.2.3", "4.5.6", instance_name("7.8.9")) if secret in repr(item)] == []


def test_a_change_that_fails_is_undone_and_the_next_one_succeeds(queue):
    queue.notice("study", "a", instances=5)
    with pytest.raises(OverflowError):
        queue.notice("study", "a", instances=2**63)
    queue.notice("study", "a", instances=6)
    assert take(queue, instances=6).listed == 6


def test_a_file_that_is_no_database(tmp_path):
    (tmp_path / "queue.sqlite").write_text("something else entirely" * 100)
    with pytest.raises(QueueError, match="the queue cannot be opened") as caught:
        Queue(tmp_path / "queue.sqlite", model="m1", bound=2)
    assert "file is not a database" in str(caught.value)
    assert "it is no SQLite file" in str(caught.value)
    assert not is_of_the_disk(caught.value)


def test_a_full_disk_is_said_and_is_no_fault_of_the_queue(queue):
    queue._database._connection.execute("PRAGMA max_page_count=1")
    with pytest.raises(QueueError, match="the queue cannot be written") as caught:
        queue.hold(queue.notice("study", "a") and "a", map(instance_name, map(str, range(10_000))))
    assert "database or disk is full" in str(caught.value)
    assert "make room on the disk of --state" in str(caught.value)
    assert is_of_the_disk(caught.value)


def test_a_damaged_database_is_said_and_not_waited_for(queue):
    queue._database._connection.execute("DROP TABLE acknowledged")
    with pytest.raises(QueueError, match="the queue cannot be read") as caught:
        queue.acknowledged("a")
    assert "no such table" in str(caught.value)
    assert "disk" not in str(caught.value)
    assert not is_of_the_disk(caught.value)


def test_a_queue_of_a_newer_version(tmp_path, queue):
    queue._database._connection.execute("PRAGMA user_version=99")
    with pytest.raises(OutputError, match="written by a newer version of segpipe") as caught:
        Queue(tmp_path / "queue.sqlite", model="m1", bound=2)
    assert "99" in str(caught.value)


FIRST_VERSION = """
CREATE TABLE series (
    series TEXT NOT NULL, model TEXT NOT NULL, study TEXT NOT NULL, source TEXT NOT NULL, state TEXT NOT NULL,
    instances INTEGER, since REAL NOT NULL, due REAL NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
    faults INTEGER NOT NULL DEFAULT 0, message TEXT NOT NULL DEFAULT '', PRIMARY KEY (series, model));
INSERT INTO series VALUES ('fetched', 'm1', 'study', 'fetched', 'done', 20, 5, 0, 1, 0, '');
INSERT INTO series VALUES ('received', 'm1', 'study', 'received', 'done', NULL, 5, 0, 1, 0, '');
INSERT INTO series VALUES ('refused', 'm1', 'study', 'received', 'refused', NULL, 5, 0, 1, 0, 'no lungs');
INSERT INTO series VALUES ('waiting', 'm1', 'study', 'received', 'queued', NULL, 5, 0, 0, 0, '');
"""


def test_a_queue_of_the_first_version_is_taken_over(tmp_path, reopen):
    old = sqlite3.connect(tmp_path / "queue.sqlite")
    old.executescript(FIRST_VERSION)
    old.close()
    for _ in range(2):
        queue = reopen()
        queue.resume(keep_s=DAY_S)
        assert queue.counts() == {"arriving": 0, "queued": 1, "working": 0, "done": 2, "refused": 1, "failed": 0}
    assert queue.take().series_uid == "waiting"
    assert take(queue, series="fetched", instances=20) is None
    assert take(queue, series="received", instances=20) is None
    assert take(queue, series="fetched", instances=21).listed == 21
