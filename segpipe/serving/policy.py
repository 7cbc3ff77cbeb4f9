"""How a worker goes about it: when a series is whole, which ones are looked at, how long it waits after a failure."""

import random
from dataclasses import dataclass, field

from segpipe.errors import OutputError, SegpipeError
from segpipe.io.pacs.dicomweb.pacs import SeriesEntry
from segpipe.serving.database import QueueError, is_passing

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 300.0
_CHEST = ("CHEST", "THORAX", "LUNG", "TORAX")
_OTHER_IMAGES = ("MR", "PT", "NM", "US", "CR", "DX", "MG", "XA")


@dataclass(frozen=True)
class WorkerPolicy:
    """How a worker goes about it.

    Args:
        stable_s: A series is whole when it has not grown for so many seconds.
        poll_s: Seconds between two looks into the PACS.
        studies: Only these studies, whatever their body part and date; all when there are none.
        days: Without `studies`, only studies at most so many days old; None for all.
        keep_s: For so many seconds the images of a received series that was refused or has failed are kept, since its
            other images may still come.
    """

    stable_s: float = 30.0
    poll_s: float = 10.0
    studies: tuple[str, ...] = field(default=(), repr=False)
    days: int | None = 2
    keep_s: float = 86400.0


def back_off(tries: int) -> float:
    """Seconds until the next try: doubled each time, up to five minutes, and a little at random.

    >>> 4 <= back_off(3) <= 5
    True
    """
    doubled: float = FIRST_DELAY_S * 2 ** (min(tries, 20) - 1)
    return min(LONGEST_DELAY_S, doubled) * random.uniform(1.0, 1.25)


def rejection_reason(entry: SeriesEntry, *, named: bool) -> str:
    """Why a series is refused before it is fetched; empty when nothing speaks against it.

    Args:
        entry: As the PACS lists it.
        named: Whether its study was asked for by name; then its body part does not count.

    >>> rejection_reason(SeriesEntry("1", "2", body_part="ABDOMEN"), named=False)
    'by its header it shows another part of the body'
    """
    if entry.modality in _OTHER_IMAGES:
        return f"modality {entry.modality}, not CT"
    part = entry.body_part.upper()
    if named or not part or any(word in part for word in _CHEST):
        return ""
    return "by its header it shows another part of the body"


def is_of_the_disk(error: SegpipeError) -> bool:
    """True when it was the disk that could not be written, which no series is to blame for."""
    if isinstance(error, QueueError):
        return is_passing(error)
    return isinstance(error, OutputError) and isinstance(error.__cause__, OSError)


def in_one_line(error: SegpipeError) -> str:
    """An error as a log has it."""
    return "; ".join(line.strip() for line in str(error).splitlines())
