"""What the queue keeps through deaths, other clocks, older versions, a full disk and a damaged file."""

import sqlite3
import threading

import pytest

from segpipe.errors import OutputError
from segpipe.io.pacs.names import instance_name
from segpipe.serving import queue as queue_module
from segpipe.serving.database import QueueError
from segpipe.serving.policy import is_of_the_disk
from segpipe.serving.queue import Queue
from tests.serving.queues import DAY_S, names, take


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


def test_no_uid_in_a_repr(queue):
    queue.receive("1.2.3", "4.5.6", instance_name("7.8.9"))
    queue.promote(polled=queue.now, stable_s=0)
    item = queue.take()
    queue.finish(item, names("7.8.9"))
    assert [secret for secret in ("1.2.3", "4.5.6", instance_name("7.8.9")) if secret in repr(item)] == []


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
