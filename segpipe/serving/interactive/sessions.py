"""The open scans: no more than so many, in no more than so much memory, none that nobody has asked for some time."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from segpipe.case import Case
from segpipe.errors import SegpipeError
from segpipe.inference.batch.memory import describe_bytes
from segpipe.inference.loaded_model import LoadedModel
from segpipe.serving.interactive.session import Session


class UnknownSessionError(SegpipeError):
    """A session that was never opened, was closed or has expired."""


class ServiceFullError(SegpipeError):
    """No room for one more scan."""


@dataclass(frozen=True)
class Bounds:
    """What may be open at a time.

    Args:
        sessions: How many.
        memory: Bytes of all scans together.
        idle_s: Seconds without a call after which a session is closed.
    """

    sessions: int = 8
    memory: int = 4 * 2**30
    idle_s: float = 1800.0


@dataclass(eq=False)
class Sessions:
    """Sessions by their names, which cannot be guessed.

    Args:
        model: Answers in all of them.
        bounds: What may be open at a time.
        clock: Seconds that only go forward.
    """

    model: LoadedModel
    bounds: Bounds = Bounds()
    clock: Callable[[], float] = time.monotonic
    _open: dict[str, tuple[Session, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def open(self, read: Callable[[], Case]) -> tuple[str, Session]:
        """Opens a scan; whether there is room is asked before it is read, and again when its size is known.

        Raises:
            ServiceFullError: when there is no room.
            SegpipeError: when it cannot be read.
        """
        self.expire()
        with self._lock:
            self._check(0)
        session = Session(read(), self.model)
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._check(session.bytes)
            self._open[name] = session, self.clock()
        return name, session

    def find(self, name: str) -> Session:
        """An open session; it stays open for some time from now.

        Raises:
            UnknownSessionError: when it is not open.
        """
        self.expire()
        with self._lock:
            if name not in self._open:
                raise UnknownSessionError(
                    "the session is not open",
                    hint=f"open the scan again; after {self.bounds.idle_s / 60:g} minutes without a call it is closed",
                )
            session, _ = self._open[name]
            self._open[name] = session, self.clock()
        return session

    def close(self, name: str) -> None:
        """Closes a session, if it is open."""
        with self._lock:
            self._open.pop(name, None)

    def expire(self) -> None:
        """Closes the sessions that nobody has called for some time."""
        oldest = self.clock() - self.bounds.idle_s
        with self._lock:
            self._open = {name: (session, last) for name, (session, last) in self._open.items() if last >= oldest}

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def _check(self, more: int) -> None:
        """Must be called with the lock."""
        taken = sum(session.bytes for session, _ in self._open.values())
        if len(self._open) >= self.bounds.sessions or taken + more > self.bounds.memory:
            raise ServiceFullError(
                "there is no room for one more scan",
                facts={
                    "open": f"{len(self._open)} of {self.bounds.sessions}",
                    "memory": f"{describe_bytes(taken + more)} of {describe_bytes(self.bounds.memory)}",
                },
                hint="close a session, or start the service with more --sessions or --memory",
            )
