"""What keeps the worker from working: said once when it begins, once when it ends, and waited for ever longer."""

import logging
from typing import Literal

from segpipe.errors import OutputError, SegpipeError
from segpipe.serving.policy import back_off, in_one_line

_LOG = logging.getLogger("segpipe.serve")
Kind = Literal["pacs", "disk", "queue"]
_ENDS = {
    "pacs": "the PACS answers again",
    "disk": "the state folder can be written again",
    "queue": "the queue has room again",
}


class Troubles:
    """The troubles of a worker now."""

    def __init__(self) -> None:
        self._messages: dict[Kind, str] = {}
        self._in_a_row: dict[Kind, int] = {}

    def __contains__(self, kind: Kind) -> bool:
        return kind in self._messages

    def __str__(self) -> str:
        """What a monitor is shown; a full queue is no trouble of the worker's."""
        return "; ".join(self._messages[kind] for kind in ("pacs", "disk") if kind in self._messages)

    def begin(self, kind: Kind, error: SegpipeError) -> float:
        """Something is wrong, perhaps still; returns for how many seconds to wait."""
        if kind not in self._messages:
            _LOG.warning("%s", in_one_line(error))
        self._messages[kind] = error.message
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1
        return back_off(self._in_a_row[kind])

    def end(self, kind: Kind) -> None:
        """It is well."""
        self._in_a_row.pop(kind, None)
        if self._messages.pop(kind, None):
            _LOG.info("%s", _ENDS[kind])


def queue_is_full() -> OutputError:
    """The error of a queue that takes no more series."""
    return OutputError("the queue is full; further series wait outside", hint="a larger --queue-size holds more")
