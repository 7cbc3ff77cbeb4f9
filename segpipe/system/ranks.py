"""What the processes of a run do together once it is trained: cases are shared out, and what is found is gathered.

They talk by a group of their own on the CPU. Its patience is days, since a case may take longer than the half hour
after which a training takes a silent process for dead; of one that dies the others learn by its closed connections.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

Item = TypeVar("Item")
Found = TypeVar("Found")
_PATIENCE = timedelta(days=7)
_SET_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


@contextmanager
def processes_part() -> Iterator[None]:
    """At the end of the block processes that trained together part: the next run of this one starts its own."""
    before = {name: os.environ.get(name) for name in _SET_BY_LIGHTNING}
    try:
        yield
        if dist.is_available() and dist.is_initialized():
            dist.destroy_process_group()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class Ranks:
    """The processes that have trained together, made in each of them at the same place; or this one alone."""

    def __init__(self) -> None:
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        self._group: Any = dist.new_group(backend="gloo", timeout=_PATIENCE) if together else None
        self.number, self.count = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.number == 0

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
