import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from segpipe.tracking.delivery.spool import Spool, UnreachableError, merge_metrics


class Server:
    """Stands for a server: takes messages, or is down, or refuses some."""

    def __init__(self):
        self.taken, self.down, self.refuses, self.down_after = [], False, (), None

    def __call__(self, message):
        if self.down or (self.down_after is not None and len(self.taken) >= self.down_after):
            raise UnreachableError("connection refused")
        if message["kind"] in self.refuses:
            raise ValueError("invalid name")
        self.taken.append(message)


def metrics(*steps):
    return {"kind": "metrics", "rows": [["loss", 0.5, 0, step] for step in steps]}


def text(name):
    return {"kind": "text", "name": name, "text": ""}


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def make(server, tmp_path):
    boxes = []

    def build():
        boxes.append(Spool(server, tmp_path / "run" / "unsent.jsonl", interval_s=3600, retry_s=3600))
        return boxes[-1]

    yield build
    for box in boxes:
        box.close()


def test_neighbouring_metrics_travel_together_and_the_order_stays(server, make):
    box = make()
    for message in (metrics(1), metrics(2), text("config.yaml"), metrics(3)):
        box.put(message)
    assert box.flush() == 0
    assert server.taken == [metrics(1, 2), text("config.yaml"), metrics(3)]


def test_merging_does_not_change_the_messages_it_was_given():
    first = metrics(1)
    assert merge_metrics([first, metrics(2)]) == [metrics(1, 2)]
    assert first == metrics(1)


def test_putting_never_waits_for_a_server_that_hangs(tmp_path):
    answer = threading.Event()
    box = Spool(lambda message: answer.wait(), tmp_path / "unsent.jsonl", interval_s=0.0)
    for step in range(1000):
        box.put(metrics(step))
    answer.set()
    assert box.close() == 0


def test_an_outage_keeps_everything_in_the_file_and_says_so_once(server, make, tmp_path, caplog):
    box = make()
    server.down = True
    for step in (1, 2):
        box.put(metrics(step))
        assert box.flush() == step
    lines = (tmp_path / "run" / "unsent.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [metrics(1), metrics(2)]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "training goes on" in caplog.text


def test_what_was_kept_is_sent_in_order_when_the_server_answers_again(server, make, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    box = make()
    server.down = True
    box.put(metrics(1))
    box.put(text("a"))
    box.flush()
    server.down = False
    box.put(metrics(2))
    assert box.flush() == 0
    assert server.taken == [metrics(1), text("a"), metrics(2)]
    assert not (tmp_path / "run" / "unsent.jsonl").exists()
    assert "2 kept messages sent" in caplog.text


def test_a_server_that_dies_between_two_messages_loses_none(server, make):
    box = make()
    for name in "abc":
        box.put(text(name))
    server.down_after = 1
    assert box.flush() == 2
    server.down_after = 2
    assert box.flush() == 1
    server.down_after = None
    assert box.flush() == 0
    assert server.taken == [text("a"), text("b"), text("c")]


def test_the_next_process_sends_what_the_last_one_kept(server, make):
    server.down = True
    first = make()
    first.put(metrics(1))
    assert first.close() == 1
    server.down = False
    second = make()
    second.put(metrics(2))
    assert second.close() == 0
    assert server.taken == [metrics(1), metrics(2)]


def test_a_line_that_a_killed_process_left_half_written_spoils_nothing(server, make, tmp_path):
    file = tmp_path / "run" / "unsent.jsonl"
    file.parent.mkdir()
    file.write_text(json.dumps(metrics(1)) + '\n{"kind": "metr')
    server.down = True
    box = make()
    box.put(metrics(2))
    assert box.flush() == 2
    server.down = False
    assert box.flush() == 0
    assert server.taken == [metrics(1), metrics(2)]


def test_a_refused_message_is_named_and_does_not_hold_up_the_others(server, make, caplog):
    box = make()
    server.refuses = ("tags",)
    box.put({"kind": "tags", "tags": {}})
    box.put(text("a"))
    assert box.flush() == 0
    assert server.taken == [text("a")]
    assert "MLflow did not take tags: invalid name" in caplog.text


def test_what_neither_server_nor_disk_takes_waits_in_memory_and_is_said_at_the_end(server, tmp_path, caplog):
    (tmp_path / "run").write_text("a file where the folder should be")
    box = Spool(server, tmp_path / "run" / "unsent.jsonl", interval_s=3600)
    server.down = True
    for step in (1, 2):
        box.put(metrics(step))
        assert box.flush() == 1
    server.down = False
    assert box.flush() == 0
    assert server.taken == [metrics(1, 2)]
    server.down = True
    box.put(text("lost"))
    assert box.close() == 0
    assert [message.split(str(tmp_path))[0] for message in caplog.messages] == [
        "the tracking server does not answer; training goes on, ",
        "",  # what MLflow does not get waits in memory
        "the tracking server does not answer; training goes on, ",
        "MLflow never gets 1 messages, ",
    ]
    assert caplog.text.count("what MLflow does not get waits in memory: File exists") == 1


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid(), reason="mounts a small disk, as root on Linux")
def test_a_real_disk_that_is_full_costs_no_message(server, tmp_path, caplog):
    disk = tmp_path / "run"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        box = Spool(server, disk / "unsent.jsonl", interval_s=3600)
        server.down = True
        box.put(text("a"))
        box.flush()
        whole = (disk / "unsent.jsonl").read_bytes()
        box.put({**text("b"), "text": "x" * 20_000})
        box.put(text("c"))
        assert box.flush() == 3
        assert (disk / "unsent.jsonl").read_bytes() == whole
        server.down = False
        assert box.close() == 0
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert [message["name"] for message in server.taken] == ["a", "b", "c"]
    assert caplog.text.count("waits in memory: No space left on device") == 1


def test_what_is_no_plain_data_is_kept_as_text(server, make):
    server.down = True
    box = make()
    box.put({**text("a"), "text": {1, 2}})
    box.put(text("b"))
    assert box.flush() == 2
    server.down = False
    box.flush()
    assert server.taken == [{**text("a"), "text": "{1, 2}"}, text("b")]


def test_what_a_second_signal_cuts_short_is_kept(server, make):
    def interrupt(message):
        raise KeyboardInterrupt

    box = make()
    box.put(text("a"))
    box._deliver = interrupt
    with pytest.raises(KeyboardInterrupt):
        box.close()
    after = make()
    assert after.flush() == 0
    assert server.taken == [text("a")]


@pytest.mark.parametrize("error", [ValueError("no"), OSError(28, "full"), SystemExit(1), MemoryError()])
def test_whatever_the_client_raises_costs_that_message_alone(server, make, error):
    box, deliver = make(), server.__call__

    def fail(message):
        if message["kind"] == "tags":
            raise error
        deliver(message)

    box._deliver = fail
    box.put({"kind": "tags", "tags": {}})
    box.put(text("a"))
    assert box.flush() == 0
    assert server.taken == [text("a")]


FULL_DISK = """
import resource, sys, threading
from pathlib import Path
from segpipe.tracking.delivery.spool import Spool, UnreachableError

taken, down = [], [True]

def deliver(message):
    if down[0] or len(taken) in stops:
        raise UnreachableError("connection refused")
    taken.append(message["name"])

stops = []
box = Spool(deliver, Path(sys.argv[1]) / "unsent.jsonl", interval_s=0.01, retry_s=0.0)
for number in range(3):
    box.put({"kind": "text", "name": str(number), "text": "x" * 100})
assert box.flush() == 3
resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))  # from now on the disk is full
box.put({"kind": "text", "name": "late", "text": "x" * 100})
box.flush()
down[0], stops[:] = False, [2]  # two are sent, then the server is gone again: the file cannot be shortened
box.flush()
stops[:] = []
box.flush()
assert box.unsent == 0
assert [thread.name for thread in threading.enumerate() if thread.is_alive()].count("segpipe-tracking") == 1
print(taken, box.close())
"""


def test_a_disk_that_fills_up_costs_no_message_nor_the_thread_nor_the_exit(tmp_path):
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['0', '1', '2', 'late'] 0\n"
    assert done.stderr.count("what MLflow does not get waits in memory") == 1
    assert "cannot be shortened" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_that_nobody_foresaw_ends_neither_the_thread_nor_the_run(tmp_path, monkeypatch, caplog):
    box = Spool(lambda message: None, tmp_path / "unsent.jsonl", interval_s=0.0)
    monkeypatch.setattr(box, "_round", lambda: 1 / 0)
    assert box.close() == 0
    assert "the run goes on (sending what waits: ZeroDivisionError: division by zero)" in caplog.text
