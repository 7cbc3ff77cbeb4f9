"""A queue with a clock of its own, and workers next to a PACS of a few lines; nothing waits before another try."""

import pytest

from segpipe.serving.queue import Queue
from tests.serving.fakes import Archive, Service
from tests.serving.queues import Clock


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


@pytest.fixture
def archive():
    return Archive()


@pytest.fixture
def serve(archive, tmp_path):
    """Starts a worker on the one state folder; the one before it is ended."""
    services = []

    def start(answers=None, **settings):
        for service in services:
            service.close()
        services[:] = [Service(archive, tmp_path / "state", answers, **settings)]
        return services[0]

    yield start
    for service in services:
        service.close()
