"""Some of many, spread over all, where all would take too long."""

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def evenly(items: Sequence[Item], most: int | None) -> list[Item]:
    """At most so many of the items, evenly over all; None takes all.

    >>> evenly("abcdef", 3), evenly("ab", 3), evenly("ab", None)
    (['a', 'c', 'e'], ['a', 'b'], ['a', 'b'])
    """
    count = len(items) if most is None else min(most, len(items))
    return [items[number * len(items) // count] for number in range(count)]
