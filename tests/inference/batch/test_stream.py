"""Scans flow through reading, work and writing; bad ones leave, and memory sets how many are alive."""

import threading

import pytest
import torch

from segpipe.errors import ImageError, OutputError
from segpipe.inference.batch.stream import stream


class Plant:
    """Reads n as 10 n, works to 100 n, and keeps what is written and how many were alive."""

    def __init__(self, bad_read=(), bad_work=(), bad_write=(), kind=ImageError):
        self.kind = kind
        self.bad_read, self.bad_work, self.bad_write = bad_read, bad_work, bad_write
        self.written, self.alive, self.most = [], set(), 0
        self.lock = threading.Lock()

    def read(self, item):
        with self.lock:
            self.alive.add(item)
            self.most = max(self.most, len(self.alive))
        if item in self.bad_read:
            self.alive.discard(item)
            raise self.kind(f"unreadable {item}")
        return item * 10

    def work(self, item, value):
        if item in self.bad_work:
            self.alive.discard(item)
            raise self.kind(f"unworkable {item}")
        return value * 10

    def write(self, item, result):
        with self.lock:
            self.alive.discard(item)
        if item in self.bad_write:
            raise OutputError("no space left")
        self.written.append(result)

    def run(self, items, together=lambda items: True):
        return [
            (item, error and error.message)
            for item, error in stream(items, self.read, self.work, self.write, together=together)
        ]


def test_everything_flows_in_order():
    plant = Plant()
    assert plant.run([1, 2, 3, 4]) == [(1, None), (2, None), (3, None), (4, None)]
    assert plant.written == [100, 200, 300, 400]


@pytest.mark.parametrize("bad", [1, 2, 3])
def test_a_bad_item_is_reported_and_the_others_are_done(bad):
    for plant in (Plant(bad_read=[bad]), Plant(bad_work=[bad])):
        found = dict(plant.run([1, 2, 3]))
        assert "able" in found.pop(bad)
        assert found == dict.fromkeys({1, 2, 3} - {bad})
        assert plant.written == [item * 100 for item in (1, 2, 3) if item != bad]


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError, torch.OutOfMemoryError, ZeroDivisionError])
def test_whatever_goes_wrong_in_an_item_costs_that_item_and_is_named(kind):
    for plant in (Plant(bad_read=[2], kind=kind), Plant(bad_work=[2], kind=kind)):
        found = dict(plant.run([1, 2, 3]))
        assert found.pop(2).startswith(f"{kind.__name__}: ")
        assert found == {1: None, 3: None}
        assert plant.written == [100, 300]


def test_a_writer_that_fails_in_an_unforeseen_way_costs_its_item():
    plant = Plant()

    def write(item, result):
        if item == 2:
            raise KeyError("SliceThickness")
        plant.written.append(result)

    found = dict(stream([1, 2, 3], plant.read, plant.work, write, together=lambda items: True))
    assert str(found[2]) == "KeyError: 'SliceThickness'"
    assert plant.written == [100, 300]


def test_an_interrupt_is_no_bad_item():
    with pytest.raises(KeyboardInterrupt):
        Plant(bad_work=[2], kind=KeyboardInterrupt).run([1, 2, 3])


def test_nothing_is_read_ahead_when_memory_holds_one():
    plant = Plant()
    plant.run([1, 2, 3, 4], together=lambda items: len(items) <= 1)
    assert plant.written == [100, 200, 300, 400]
    assert plant.most == 1


def test_at_most_three_are_alive():
    plant = Plant()
    plant.run(list(range(1, 12)))
    assert plant.most <= 3


def test_reading_goes_on_while_another_is_worked_on():
    reading = threading.Event()

    def read(item):
        if item == 2:
            reading.set()
        return item

    def work(item, value):
        assert item != 1 or reading.wait(timeout=20), "the second item was not read meanwhile"
        return value

    list(stream([1, 2], read, work, lambda item, result: None, together=lambda items: True))


def test_an_output_that_fails_stops_everything():
    plant = Plant(bad_write=[2])
    with pytest.raises(OutputError, match="no space left"):
        plant.run([1, 2, 3, 4, 5, 6])
    assert 600 not in plant.written


def test_no_items_are_no_work():
    assert Plant().run([]) == []
