"""The long run itself: faults are counted once each and can be made again; what ends the process ends one input."""

import os
import time

import pytest

from segpipe.errors import ImageError
from tests.fuzz.soak.__main__ import main, share_out
from tests.fuzz.soak.child import run_reader
from tests.fuzz.soak.reader import Reader
from tests.fuzz.soak.readers import READERS

FOREVER = float("inf")


def _odd(folder):
    """Reads an input in three, refuses one, and on the third does what no reader may do."""
    assert not list(folder.iterdir())
    numbers = iter(range(1000))

    def attempt(random):
        number = next(numbers)
        if number % 3 == 1:
            raise ImageError("no image")
        if number % 3 == 2:
            raise ZeroDivisionError

    return attempt


def test_inputs_are_counted_and_faults_are_named_by_their_first():
    outcome = run_reader(Reader("odd", 1, _odd), range(10, 22), seed=0, until=FOREVER)
    assert (outcome.read, outcome.refused, outcome.inputs) == (4, 4, 12)
    assert [what.split()[0] for what in outcome.faults] == ["ZeroDivisionError"]
    assert list(outcome.faults.values()) == [12]
    assert list(outcome.times.values()) == [4]


def test_an_input_that_ends_the_process_costs_itself():
    def prepare(folder):
        return lambda random: os._exit(11) if random.random() < 0.5 else None

    outcome = run_reader(Reader("ends", 1, prepare), range(12), seed=0, until=FOREVER)
    assert outcome.inputs == 12
    assert outcome.read == 12 - outcome.times["ended the process (exit code 11)"]
    assert 0 < outcome.read < 12


def test_an_input_that_never_ends_costs_itself(monkeypatch):
    monkeypatch.setattr("tests.fuzz.soak.child.SECONDS_PER_INPUT", 0.1)
    hang = Reader("hangs", 1, lambda folder: lambda random: time.sleep(60))
    outcome = run_reader(hang, range(1), seed=0, until=FOREVER)
    assert list(outcome.times) == ["took more than 0.1 s"]


def test_memory_is_bounded():
    outcome = run_reader(
        Reader("large", 1, lambda folder: lambda random: bytearray(2**36)), range(1), seed=0, until=FOREVER
    )
    assert [what.split()[0] for what in outcome.faults] == ["MemoryError"]


def test_a_reader_that_cannot_be_prepared_ends_the_run():
    with pytest.raises(RuntimeError, match="gone cannot be prepared"):
        run_reader(Reader("gone", 1, lambda folder: 1 / 0), range(1), seed=0, until=FOREVER)


def test_all_inputs_are_shared_out():
    counts = share_out(READERS, 1_000_003)
    assert sum(counts.values()) == 1_000_003
    assert min(counts.values()) > 1000


def test_the_table(capsys):
    assert main(["--inputs", "60", "--reader", "marks_csv", "--reader", "manifest"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["manifest", "30"], ["marks_csv", "30"], ["all", "60"]]
