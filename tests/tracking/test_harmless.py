"""Whatever goes wrong in tracking is a warning: the training goes on and ends with its own exit code."""

import threading

import pytest

from segpipe.tracking.harmless import harmless
from segpipe.tracking.system import SystemWatch


def test_an_error_becomes_a_warning_without_passwords(caplog):
    with harmless("logging the model"):
        raise ValueError("postgresql://ann:secret@db is full\nmore")
    assert caplog.messages == [
        "MLflow misses something, the run goes on (logging the model: ValueError: postgresql://***@db is full)"
    ]


def test_an_interrupt_goes_through():
    with pytest.raises(KeyboardInterrupt), harmless("a step"):
        raise KeyboardInterrupt


class Sampler:
    """A sampler of MLflow's kind, which may fail from some sample on."""

    def __init__(self, name, fails_from=None):
        self.name, self.fails_from, self.taken = name, fails_from, 0

    def collect_metrics(self):
        self.taken += 1
        if self.fails_from is not None and self.taken >= self.fails_from:
            raise OSError(28, "No space left on device")

    def aggregate_metrics(self):
        return {self.name: self.taken}

    def clear_metrics(self):
        pass


class Metrics:
    def __init__(self):
        self.rows, self.enough = [], threading.Event()

    def log_metrics(self, metrics, step):
        self.rows.append((metrics, step))
        if step == 3:
            self.enough.set()


def test_a_sampler_that_fails_is_asked_no_more_and_the_watch_goes_on(monkeypatch, caplog):
    disk, cpu, metrics = Sampler("disk", fails_from=2), Sampler("cpu"), Metrics()
    monkeypatch.setattr("segpipe.tracking.system._samplers", lambda: [disk, cpu])
    watch = SystemWatch(metrics.log_metrics, interval_s=0.001)
    assert metrics.enough.wait(timeout=20)
    watch.stop()
    assert disk.taken == 2
    assert caplog.text.count("Sampler measures no more: [Errno 28] No space left on device") == 1
    assert ({"system/cpu": 4}, 3) in metrics.rows
    assert metrics.rows[0] == ({"system/disk": 1}, 0)


def test_stopping_a_watch_that_cannot_measure_is_quiet(monkeypatch, caplog):
    monkeypatch.setattr("segpipe.tracking.system._samplers", lambda: [Sampler("disk", fails_from=1)])
    SystemWatch(Metrics().log_metrics, interval_s=3600).stop()
    assert "measures no more" in caplog.text
