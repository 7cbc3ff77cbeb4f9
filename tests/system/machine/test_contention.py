"""Contention: threads sleep at once while cores are contended, and only then."""

import os
import subprocess
import sys

import pytest

from segpipe.system.machine import contention as module
from segpipe.system.machine.contention import Contention

SLEEPS = """
import time
from pathlib import Path
import torch
from segpipe.system.machine import contention

def sleeps():
    statuses = [(task / "status").read_text() for task in Path("/proc/self/task").iterdir()]
    return sum(int(status.split("\\nvoluntary_ctxt_switches:")[1].split()[0]) for status in statuses)

def count():
    numbers = torch.zeros(1 << 17)
    numbers.add_(1)
    before = sleeps()
    for _ in range(20):
        numbers.add_(1)
        end = time.perf_counter() + 2e-4
        while time.perf_counter() < end:
            pass
    return sleeps() - before

contention._SLEEPY_S = 1e9
torch.set_num_threads(2)
spinning = count()
contention.Contention()._add(1.0, 1.0)
time.sleep(0.5)
print(spinning, count())
"""


class Clock:
    """A thread that computes, and waits for a core, for as long as it is told."""

    def __init__(self):
        self.now_s = self.waited_s = 0.0

    def pass_time(self, computed_s, waited_s):
        self.now_s += computed_s + waited_s
        self.waited_s += waited_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module.time, "perf_counter", lambda: clock.now_s)
    monkeypatch.setattr(module, "_waited_s", lambda: clock.waited_s)
    return clock


@pytest.fixture
def sleepy(monkeypatch):
    """The times that threads were made to sleep at once."""
    times = []
    monkeypatch.setattr(module, "_sleep_at_once", lambda: times.append(1))
    return times


def watch(clock, blocks):
    contention = Contention()
    for block in blocks:
        with contention.watch():
            clock.pass_time(*block)
        if contention._sleepy.ident:
            contention._sleepy.join()


@pytest.mark.parametrize(
    ("blocks", "times"),
    [
        ([(0.07, 0.04)], 1),  # 36 % of 0.11 s
        ([(0.1, 0.01)], 0),  # 9 %
        ([(0.03, 0.03)], 0),  # too short to say
        ([(0.03, 0.03)] * 4, 2),  # twice 0.12 s, of which one half
        ([(0.005, 0.005), *[(0.005, 0.0)] * 30], 0),  # one intruder
    ],
)
def test_threads_sleep_at_once_when_a_fifth_of_the_time_is_spent_on_waiting(clock, sleepy, blocks, times):
    watch(clock, blocks)
    assert len(sleepy) == times


def test_nothing_is_watched_while_threads_sleep_at_once(clock, sleepy, monkeypatch):
    contention = Contention()
    monkeypatch.setattr(contention._sleepy, "is_alive", lambda: True)
    with contention.watch():
        clock.pass_time(0.0, 9.0)
    assert not sleepy


def test_a_block_that_fails_is_not_counted(clock, sleepy):
    with pytest.raises(AttributeError), Contention().watch():
        clock.pass_time(0.0, 9.0).fails()
    assert not sleepy


def test_a_system_that_does_not_say_how_long_a_thread_waited_has_no_contention(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_OWN", tmp_path / "schedstat")
    assert module._waited_s() == 0.0
    (tmp_path / "schedstat").write_text("5000000000 1500000000 12\n")
    assert module._waited_s() == 1.5


@pytest.mark.slow
@pytest.mark.skipif(len(getattr(os, "sched_getaffinity", lambda pid: {0})(0)) < 2, reason="one core has no pool")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_second_pool_makes_the_threads_of_all_pools_sleep_at_once():
    environment = {**os.environ, "GOMP_SPINCOUNT": "100000000", "OMP_NUM_THREADS": "2"}
    environment.pop("OMP_WAIT_POLICY", None)
    ran = subprocess.run([sys.executable, "-c", SLEEPS], env=environment, capture_output=True, text=True, timeout=100)
    assert (ran.returncode, ran.stderr) == (0, "")  # it ends, whatever its other threads do
    spinning, sleepy = map(int, ran.stdout.split())
    assert spinning < 10
    assert sleepy >= 20  # each gap of 0.2 ms is longer than it spins
