"""What the processes of a run do together apart from training: they agree, share out cases and gather what is found.

They talk by a group of their own on the CPU. Its patience is days, since a case may take longer than the half hour
after which a training takes a silent process for dead; of one that dies the others learn by its closed connections.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

from segpipe.errors import SegpipeError

Item = TypeVar("Item")
Found = TypeVar("Found")
_PATIENCE = timedelta(days=7)
_OF_A_RUN = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


@contextmanager
def processes_part() -> Iterator[None]:
    """At the end of the block processes that trained together part: the next run of this one starts its own."""
    before = {name: os.environ.get(name) for name in _OF_A_RUN}
    try:
        yield
        if _is_together():
            dist.destroy_process_group()
    finally:
        if _is_together():  # after an error another process may be gone, for which `destroy` would wait
            dist.distributed_c10d._abort_process_group()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class Ranks:
    """The processes that train together, made in each of them at the same place; or this one alone."""

    def __init__(self) -> None:
        together = _is_together() and dist.get_world_size() > 1
        self._group: Any = dist.new_group(backend="gloo", timeout=_PATIENCE) if together else None
        self.number, self.count = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.number == 0

    def agree(self, choose: Callable[[], Found]) -> Found:
        """What the first process chooses, in each of them.

        Raises:
            SegpipeError: in each of them, when the first could not choose.
        """
        own: Found | SegpipeError | None = None
        if self.main:
            try:
                own = choose()
            except SegpipeError as error:
                own = error
        chosen: Any = self.gather({self.number: own})[0]
        if isinstance(chosen, SegpipeError):
            raise chosen
        return chosen  # type: ignore[no-any-return]

    def own(self, items: Sequence[Item]) -> dict[int, Item]:
        """This process's share of items, by their places among all."""
        return dict(list(enumerate(items))[self.number :: self.count])

    def gather(self, found: Mapping[int, Found]) -> list[Found]:
        """What all processes have found of their shares, in the order of the items; in each of them."""
        every: list[Any] = [found]
        if self._group is not None:
            every = [None] * self.count
            dist.all_gather_object(every, found, group=self._group)
        return [outcome for _, outcome in sorted(item for part in every for item in part.items())]


def _is_together() -> bool:
    return dist.is_available() and dist.is_initialized()
