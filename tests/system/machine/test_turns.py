"""Turns: one at a time, whoever waits is next, and nobody waits for ever."""

import subprocess
import sys
import threading

import pytest
from filelock import FileLock, Timeout

from segpipe.system.machine import turns as module
from segpipe.system.machine.turns import Turns, take_turn

HOLDER = """
import sys
from pathlib import Path
from segpipe.system.machine.turns import Turns
with Turns(Path(sys.argv[1]), "cores").take():
    print("taken", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that is at turn until its stdin is closed."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], **pipes) as process:
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_a_turn_waits_for_the_one_of_another_process(tmp_path, holder):
    turns, begun = Turns(tmp_path, "cores"), threading.Event()

    def wait():
        with turns.take():
            begun.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not begun.wait(0.2)
    holder.stdin.close()
    waiting.join()
    assert begun.is_set()


def test_a_killed_process_gives_its_turn_back(tmp_path, holder):
    holder.kill()
    turns = Turns(tmp_path, "cores")
    with turns.take():
        assert turns.waits


def test_a_suspended_process_is_waited_for_once(tmp_path, holder):
    turns = Turns(tmp_path, "cores", patience_s=0.05)
    with turns.take():
        assert not turns.waits
    with turns.take():
        pass


@pytest.mark.parametrize(
    ("slice_s", "expected"), [(0.0, ["second", "first"]), (60.0, ["first", "second"])], ids=["used up", "going on"]
)
def test_who_waits_comes_before_who_has_had_a_slice_of_turns(tmp_path, monkeypatch, slice_s, expected):
    monkeypatch.setattr(module, "_POLL_S", 0.3)  # so that the first is back before the second looks again
    first, order = Turns(tmp_path, "cores", slice_s=slice_s), []

    def work():
        with Turns(tmp_path, "cores").take():
            order.append("second")

    second = threading.Thread(target=work)
    with first.take():
        second.start()
        while is_free(tmp_path / "cores.next"):
            pass
    with first.take():
        order.append("first")
    second.join()
    assert order == expected


def is_free(file):
    try:
        with FileLock(file, timeout=0):
            return True
    except Timeout:
        return False


def test_a_turn_that_ends_by_an_error_is_given_back(tmp_path):
    turns = Turns(tmp_path, "cores", patience_s=0.05)
    with pytest.raises(KeyError), turns.take():
        raise KeyError
    with Turns(tmp_path, "cores", patience_s=0.05).take():
        assert turns.waits


def test_where_no_file_can_be_made_nobody_waits(tmp_path):
    (tmp_path / "file").touch()
    turns = Turns(tmp_path / "file", "cores", patience_s=0.05)
    with turns.take():
        assert not turns.waits


@pytest.mark.parametrize(("threads", "cores", "taken"), [(2, 2, 1), (3, 4, 1), (2, 4, 0), (1, 1, 0), (8, 16, 0)])
def test_only_pools_of_which_two_do_not_fit_take_turns(monkeypatch, tmp_path, threads, cores, taken):
    asked = []
    monkeypatch.setattr(module, "_cores", lambda: cores)
    monkeypatch.setattr(module, "_shared_turns", lambda: asked.append(1) or Turns(tmp_path, "cores"))
    with take_turn(threads):
        assert len(asked) == taken


def test_turns_are_those_of_this_user_on_these_cores(monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda pid: {0, 3}, raising=False)
    monkeypatch.setattr(module.os, "getuid", lambda: 1234, raising=False)
    monkeypatch.setattr(module.tempfile, "gettempdir", lambda: str(tmp_path))
    with module._shared_turns.__wrapped__().take():
        assert sorted(file.name for file in tmp_path.iterdir()) == ["segpipe-1234-9.next", "segpipe-1234-9.now"]
