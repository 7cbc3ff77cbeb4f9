"""What the processes of a run do together once it is trained: cases are shared out, and what is found is gathered.

They talk by a group of their own on the CPU. Its patience is days, since a case can take longer than the half hour after
which a training takes a silent process for dead; of one that dies the others learn at once, by its closed connections.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

Item = TypeVar("Item")
Found = TypeVar("Found")
_PATIENCE = timedelta(days=7)


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
