"""What a check found, item by item, as one table with warnings and problems under what they are about."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Item(NamedTuple):
    """One line of the table.

    Args:
        subject: What was looked at.
        found: What was found.
        warning: What the run will suffer from, and what to try.
        problem: What the run will fail of, and what to try.
    """

    subject: str
    found: str
    warning: str = ""
    problem: str = ""


def text_table(items: Sequence[Item]) -> str:
    r"""The table.

    >>> print(text_table([Item("data", "3 cases"), Item("/dev/shm", "64 MB", warning="too small\ntry  less")]))
    data      3 cases
    /dev/shm  64 MB
              warning: too small
                       try  less
    """
    width = max(len(item.subject) for item in items)
    return "\n".join(f"{subject:<{width}}  {text}".rstrip() for item in items for subject, text in _lines(item))


def _lines(item: Item) -> Iterator[tuple[str, str]]:
    yield item.subject, item.found
    for kind in ("warning", "problem"):
        for number, line in enumerate(getattr(item, kind).splitlines()):
            yield "", f"{'' if number else f'{kind}:':<{len(kind) + 1}} {line}"


def describe_seconds(seconds: float) -> str:
    """A time as a person reads it.

    >>> [describe_seconds(seconds) for seconds in (0.034, 4.2, 130, 5400, 200_000)]
    ['0.034 s', '4.2 s', '2.2 min', '1.5 h', '2.3 days']
    """
    for unit, length, least in (("days", 86_400, 172_800), ("h", 3600, 3600), ("min", 60, 60)):
        if seconds >= least:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"


def describe_size(count: float) -> str:
    """Bytes as a person reads them.

    >>> [describe_size(count) for count in (2_000, 64 * 2**20, 3 * 2**30)]
    ['2.0 kB', '64.0 MB', '3.0 GB']
    """
    for unit, length in (("GB", 2**30), ("MB", 2**20)):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count / 2**10:.1f} kB"
