"""A signal ends the work as an error does: what is written in part is removed, workers end, exit codes are usual."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path

import pytest

from segpipe.system.files.atomic_write import atomic_write
from segpipe.system.processes.parallel_map import parallel_map
from segpipe.system.processes.stopping import SIGNALS, Stopped, check_stop, stop_asked, stoppable, stops_wait
from tests.support.leftovers import unfinished
from tests.support.processes import PATIENCE_S, Process


def send(number: int) -> None:
    os.kill(os.getpid(), number)


def run(*steps: Callable[[], object], waiting: bool = False) -> None:
    with stoppable(), stops_wait() if waiting else nullcontext():
        for step in steps:
            step()


def stopped(*steps: Callable[[], object], waiting: bool = False) -> Stopped:
    with pytest.raises(Stopped) as caught:
        run(*steps, waiting=waiting)
    return caught.value


def raise_it(error: BaseException) -> None:
    raise error


def swallow() -> None:
    with suppress(Stopped):
        send(signal.SIGINT)


terminate = partial(send, signal.SIGTERM)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 138), (signal.SIGUSR2, 140)],
)
def test_a_signal_raises_with_its_exit_code_and_the_former_handlers_come_back(number, code):
    before = [signal.getsignal(one) for one in SIGNALS]
    stop = stopped(partial(send, number))
    assert (stop.name, stop.exit_code) == (number.name, code)
    assert [signal.getsignal(one) for one in SIGNALS] == before
    assert not stop_asked()


def test_a_block_that_must_not_be_cut_is_left_at_its_end_or_where_it_checks(capfd):
    done = []
    stopped(terminate, terminate, partial(done.append, "to the end"), waiting=True)  # a launcher passes it on, too
    stopped(terminate, check_stop, partial(done.append, "never"), waiting=True)
    assert done == ["to the end"]
    assert capfd.readouterr().err == "\nstopping after this step\n" * 2


def test_a_later_second_signal_waits_for_nothing(monkeypatch):
    later = time.monotonic() + 60
    pass_time = partial(monkeypatch.setattr, time, "monotonic", lambda: later)
    stop = stopped(terminate, pass_time, partial(send, signal.SIGINT), partial(pytest.fail, "waited"), waiting=True)
    assert stop.name == "SIGINT"


@pytest.mark.parametrize("error", [RuntimeError("a worker was killed"), SystemExit(0)])
def test_what_a_library_makes_of_a_signal_counts_as_the_stop(error):
    assert stopped(terminate, partial(raise_it, error), waiting=True).__cause__ is error


def test_a_swallowed_stop_is_found_at_the_next_check():
    assert stopped(swallow, check_stop).name == "SIGINT"


def test_nothing_is_caught_where_nobody_asked_for_it():
    with stops_wait():
        check_stop()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def write_for_long(file: Path) -> None:
    """A case that is being written, and never is."""
    with atomic_write(file) as part:
        part.write_text("in part")
        Path(f"{file}.pid").write_text(str(os.getpid()))
        time.sleep(PATIENCE_S)


def map_for_long(folder: Path) -> None:
    items = [folder / str(number) for number in range(4)]
    with stoppable():
        list(parallel_map(write_for_long, items, name=str, workers=2))


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_parent(tmp_path, number):
    process = Process(map_for_long, tmp_path, cwd=tmp_path, log=tmp_path / "log")
    deadline = time.monotonic() + PATIENCE_S
    while len(pids := list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    workers = [int(file.read_text()) for file in pids]
    assert process.end(number) != 0
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(is_alive, workers))
    assert number == signal.SIGKILL or unfinished(tmp_path) == []
