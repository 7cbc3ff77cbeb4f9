"""What tests of the queue need: a clock of their own, and a series in work."""

from segpipe.io.pacs.names import instance_name

DAY_S = 86400.0


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def take(queue, *, instances=None, series="a"):
    """A series that was listed, was whole and is in work."""
    queue.notice("study", series, instances=instances)
    queue.promote(polled=queue.now, stable_s=0)
    return queue.take()


def names(*numbers):
    return frozenset(instance_name(str(number)) for number in numbers)
