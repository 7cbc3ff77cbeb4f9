"""What a run has to send waits here: training never waits for a server, and an outage loses nothing.

Every message is plain data. A background thread delivers the messages in order; while the server does not answer they
are kept as JSON lines in the run's folder, and sent when it answers again, at the run's end, when it is resumed or by
`python -m segpipe sync`. What a full disk does not take stays in memory meanwhile.
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
        self._disk_is_full = False
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
        """Flushes and ends the thread; returns the number of messages left in the file.

        What neither server nor disk has taken by now is lost, which is said with its count.
        """
        self._closed.set()
        self._wake.set()
        self._thread.join()
        try:
            self.flush()
        finally:  # also when a second signal does not wait for the server
            self._keep_queue()
            lost, self._queue = len(self._queue), []
            if lost:
                log.warning("MLflow never gets %d messages, %s cannot be written", lost, self._file.path)
        return self.unsent

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(self._interval_s)
            if not self._closed.is_set():
                with harmless("sending what waits"):
                    self._round()

    def _round(self) -> None:
        """Sends what waits, that in the file first; what the server does not take goes into the file."""
        with self._round_lock:
            if time.monotonic() >= self._next_try:
                self._send_kept()
            if time.monotonic() >= self._next_try and not self._file.holds_any:
                self._send_queue()
            else:
                self._keep_queue()

    def _send_kept(self) -> None:
        messages = self._file.messages() if self._file.holds_any else []
        sent = 0
        try:
            while sent < len(messages) and self._send(messages[sent]):
                sent += 1
        finally:
            if sent:
                self._file.drop(sent)
        if messages and sent == len(messages):
            log.info("the tracking server answers again: %d kept messages sent", sent)

    def _send_queue(self) -> None:
        self._merge_queue()
        while self._queue:
            if not self._send(self._queue[0]):
                self._keep_queue()
                return
            with self._lock:
                del self._queue[0]

    def _keep_queue(self) -> None:
        """Moves the messages into the file; those that the disk does not take stay in memory."""
        messages = self._merge_queue()
        problem = self._file.append(messages)
        if problem is None:
            with self._lock:
                del self._queue[: len(messages)]
        elif not self._disk_is_full:
            self._disk_is_full = True
            log.warning("%s cannot be written, what MLflow does not get waits in memory: %s", self._file.path, problem)

    def _merge_queue(self) -> list[Message]:
        with self._lock:
            self._queue = merge_metrics(self._queue)
            return list(self._queue)

    def _send(self, message: Message) -> bool:
        """Whether a message is done with: the server has it, or has something against it, which is said."""
        try:
            self._deliver(message)
        except UnreachableError as error:
            self._pause(error)
            return False
        except (Exception, SystemExit) as error:
            log.warning("MLflow did not take %s: %s", _describe(message), without_secrets(error))
        self._reachable = True
        return True

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
