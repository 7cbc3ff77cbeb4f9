"""The messages that wait for the server, as JSON lines in the run's folder."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segpipe.errors import OutputError
from segpipe.system.files.atomic_write import append_whole, write_text

log = logging.getLogger(__name__)
Message = dict[str, Any]


class SpoolFile:
    """A queue of messages on disk.

    Args:
        path: The file; there is none while nothing waits.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sent = 0  # messages at the front that are sent, and that a full disk did not let go of

    @property
    def holds_any(self) -> bool:
        """Whether messages wait."""
        return self.path.exists() and bool(self.messages())

    def messages(self) -> list[Message]:
        """What waits, in order, without a line that a killed process cut short."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        read = [_read(line) for line in lines]
        return [message for message in read if message is not None][self._sent :]

    def append(self, messages: Sequence[Message]) -> str | None:
        """Adds messages behind the others, all of them or none; returns why the disk does not take them."""
        if not messages:
            return None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_whole(self.path, "".join(map(_line, messages)))
        except OSError as error:
            return error.strerror or str(error)
        return None

    def drop(self, count: int) -> None:
        """Forgets the first `count` messages, which the server has taken."""
        left = self.messages()[count:]
        try:
            if left:
                write_text(self.path, "".join(map(_line, left)), what="the spool")
            else:
                self.path.unlink(missing_ok=True)
        except (OSError, OutputError) as error:
            self._sent += count
            log.warning("%s cannot be shortened, what was sent stays in it: %s", self.path, str(error).splitlines()[0])
        else:
            self._sent = 0


def _line(message: Message) -> str:
    """A message as JSON; what is no plain data in it is text there."""
    return json.dumps(message, default=str) + "\n"


def _read(line: str) -> Message | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
