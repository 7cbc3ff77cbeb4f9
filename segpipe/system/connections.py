"""The connections that a server holds: a few at a time, of which those that wait in vain give way to new ones."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Lock


class Connections:
    """Open connections of one kind, e.g. from one address.

    Args:
        most: How many there may be.
        may_go: Whether a connection may be cut off when there are too many.
    """

    def __init__(self, most: int, *, may_go: Callable[[socket.socket], bool] = lambda connection: True) -> None:
        self._most, self._may_go = most, may_go
        self._since: dict[socket.socket, float] = {}
        self._lock = Lock()

    def admit(self, connection: socket.socket) -> bool:
        """Takes a connection in; where there is no room, the oldest that may go is cut off. False when none may."""
        with self._lock:
            self._forget_closed()
            if len(self._since) >= self._most:
                oldest = next(filter(self._may_go, self._since), None)
                if oldest is None:
                    return False
                self._cut(oldest)
            self._since[connection] = time.monotonic()
            return True

    def cut_off(self, *, older_than_s: float = -1.0) -> None:
        """Cuts off the connections that have been open for so long, by default all."""
        with self._lock:
            self._forget_closed()
            for connection, since in list(self._since.items()):
                if time.monotonic() - since > older_than_s:
                    self._cut(connection)

    def _forget_closed(self) -> None:
        for connection in [one for one in self._since if one.fileno() < 0]:
            del self._since[connection]

    def _cut(self, connection: socket.socket) -> None:
        """Whoever reads from it sees its end and closes it."""
        del self._since[connection]
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
