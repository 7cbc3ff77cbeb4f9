"""What a run has to send waits here: training never waits for a server, and an outage loses nothing.

Every message is plain data. A background thread delivers the messages in order; while the server does not answer they
are kept as JSON lines in the run's folder, and sent when it answers again, at the run's end or when it is resumed.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from segpipe.system.credentials import without_secrets
from segpipe.tracking.delivery.spool_file import Message, SpoolFile
from segpipe.tracking.harmless import harmless

log = logging.getLogger(__name__)


class UnreachableError(Exception):
    """The server does not answer; the message must be kept."""


class Spool:
    """Delivers messages in the background and keeps those that cannot be delivered.

    Args:
        deliver: Sends one message; raises `UnreachableError` when it must be kept; any other error drops it,
            with a warning.
        file: Where messages are kept while the server does not answer.
        interval_s: Pause between two deliveries.
        retry_s: Pause before an unreachable server is tried again.
    """

    def __init__(
        self, deliver: Callable[[Message], None], file: Path, *, interval_s: float = 1.0, retry_s: float = 20.0
    ) -> None:
        self._deliver, self._file = deliver, SpoolFile(file)
        self._interval_s, self._retry_s = interval_s, retry_s
        self._queue: list[Message] = []
        self._lock, self._round_lock = threading.Lock(), threading.Lock()
        self._wake, self._closed = threading.Event(), threading.Event()
        self._next_try = 0.0
        self._reachable = True
        self._thread = threading.Thread(target=self._run, name="segpipe-tracking", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Takes a message and returns at once."""
        with self._lock:
            self._queue.append(message)

    @property
    def unsent(self) -> int:
        """Messages that are not delivered yet."""
        kept = len(self._file.messages())
        with self._lock:
            return kept + len(self._queue)

    def flush(self) -> int:
        """Tries to deliver everything now; returns the number of messages that are still kept."""
        self._next_try = 0.0
        with harmless("sending what waits"):
            self._round()
        return self.unsent

    def close(self) -> int:
        """Flushes and ends the thread; returns the number of messages left in the file."""
        self._closed.set()
        self._wake.set()
        self._thread.join()
        return self.flush()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(self._interval_s)
            if not self._closed.is_set():
                with harmless("sending what waits"):
                    self._round()

    def _round(self) -> None:
        with self._round_lock:
            with self._lock:
                fresh, self._queue = merge_metrics(self._queue), []
            if self._file.holds_any or time.monotonic() < self._next_try:
                self._file.append(fresh)
                if time.monotonic() >= self._next_try:
                    self._send_kept()
            else:
                self._file.append(self._send(fresh))

    def _send_kept(self) -> None:
        messages = self._file.messages()
        left = self._send(messages)
        if len(left) == len(messages):
            return
        self._file.drop(len(messages) - len(left))
        if not left:
            log.info("the tracking server answers again: %d kept messages sent", len(messages))

    def _send(self, messages: list[Message]) -> list[Message]:
        """Delivers in order; returns what is left when the server stops answering."""
        for position, message in enumerate(messages):
            try:
                self._deliver(message)
            except UnreachableError as error:
                self._pause(error)
                return messages[position:]
            except Exception as error:
                log.warning("MLflow did not take %s: %s", _describe(message), without_secrets(error))
        if messages:
            self._reachable = True
        return []

    def _pause(self, error: UnreachableError) -> None:
        self._next_try = time.monotonic() + self._retry_s
        if self._reachable:
            log.warning(
                "the tracking server does not answer; training goes on, %s keeps the rest (%s)", self._file.path, error
            )
        self._reachable = False


def merge_metrics(messages: list[Message]) -> list[Message]:
    """Joins neighbouring metric messages to one, so that a hundred steps are one request."""
    merged: list[Message] = []
    for message in messages:
        if merged and message["kind"] == merged[-1]["kind"] == "metrics":
            merged[-1] = {"kind": "metrics", "rows": [*merged[-1]["rows"], *message["rows"]]}
        else:
            merged.append(message)
    return merged


def _describe(message: Message) -> str:
    return str(message.get("name") or message["kind"])
