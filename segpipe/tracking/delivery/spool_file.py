"""The messages that wait for the server, as JSON lines; a full disk may cost some of them, but never the run."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segpipe.errors import OutputError
from segpipe.system.atomic_write import write_text

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
        return bool(self.messages())

    def messages(self) -> list[Message]:
        """What waits, in order, without a line that a killed process or a full disk cut short."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        read = [_read(line) for line in lines]
        return [message for message in read if message is not None][self._sent :]

    def append(self, messages: Sequence[Message]) -> None:
        """Adds messages behind the others; those that the disk has no room for are lost, with a warning."""
        if not messages:
            return
        text = "".join(json.dumps(message) + "\n" for message in messages)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as stream:
                stream.write((("" if self._ends_whole() else "\n") + text).encode())
        except OSError as error:
            log.warning("%d messages for MLflow are lost, %s cannot be written: %s", len(messages), self.path, error)

    def drop(self, count: int) -> None:
        """Forgets the first `count` messages, which the server has taken."""
        left = self.messages()[count:]
        try:
            if left:
                write_text(self.path, "".join(json.dumps(message) + "\n" for message in left), what="the spool")
            else:
                self.path.unlink(missing_ok=True)
        except (OSError, OutputError) as error:
            self._sent += count
            log.warning("%s cannot be shortened, what was sent stays in it: %s", self.path, str(error).splitlines()[0])
        else:
            self._sent = 0

    def _ends_whole(self) -> bool:
        content = self.path.read_bytes() if self.path.exists() else b""
        return not content or content.endswith(b"\n")


def _read(line: str) -> Message | None:
    try:
        message = json.loads(line)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None
