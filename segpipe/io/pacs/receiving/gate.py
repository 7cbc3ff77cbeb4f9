"""The door of the C-STORE port: who may come in is decided by address, and how much is read before it is believed."""

import logging
import socket
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from pynetdicom import AE
from pynetdicom.transport import ThreadedAssociationServer

from segpipe.io.pacs.limits import ASSOCIATIONS, IDLE_S, INSTANCE_BYTES, PDU_BYTES, PDU_S, REQUEST_S, SLACK_BYTES
from segpipe.io.pacs.receiving.peers import plain_address
from segpipe.system.connections import Connections

_LOG = logging.getLogger("segpipe.serve")
_MOST_STRANGERS = 100
_HEAD = 6  # type, reserved, four bytes of length (DICOM PS3.8, 9.3)


class PduSocket(socket.socket):
    """A connection on which a PDU that is too long, or takes too long, is the last.

    pynetdicom reads the head of a PDU and then as many bytes as that claims, before it looks at any of them. So the
    head is read here, too. An error of the connection ends its association.
    """

    def __init__(self, connection: socket.socket) -> None:
        super().__init__(fileno=connection.detach())
        self.is_silent = True  # until a whole PDU has come
        self.unhandled = 0
        self._head, self._left, self._end = bytearray(), 0, 0.0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Reads bytes of a PDU.

        Raises:
            OSError: when the PDU, or what has come since the last instance, is too large or takes too long.
        """
        if not self._head and not self._left:
            self._end = time.monotonic() + PDU_S
        self.settimeout(max(0.001, self._end - time.monotonic()))
        content = super().recv(size, flags)
        self.settimeout(PDU_S)
        self._follow(content)
        self.unhandled += len(content)
        if self._left > PDU_BYTES or self.unhandled > INSTANCE_BYTES + SLACK_BYTES:
            raise ConnectionAbortedError
        return content

    def shutdown(self, how: int, /) -> None:
        """Ends the connection, also one that the other side has ended; pynetdicom closes it only if this succeeds."""
        with suppress(OSError):
            super().shutdown(how)

    def _follow(self, content: bytes) -> None:
        """A head is read alone, and of what follows never more than it names."""
        if self._left:
            self._left -= len(content)
        else:
            self._head += content
            if len(self._head) < _HEAD:
                return
            self._left = int.from_bytes(self._head[2:])
            self._head.clear()
        self.is_silent = self.is_silent and self._left > 0


class GatedEntity(AE):
    """An application entity that accepts connections from some addresses alone.

    Args:
        title: Its AE title, by which others must call it.
        addresses: From where connections are accepted.
    """

    def __init__(self, title: str, addresses: Collection[str]) -> None:
        super().__init__(title)
        self.require_called_aet = True
        self.acse_timeout, self.network_timeout = REQUEST_S, IDLE_S
        self.maximum_associations = sys.maxsize  # pynetdicom counts those of anybody, together
        self.gate = {address: Connections(ASSOCIATIONS, may_go=_is_silent) for address in addresses}

    def make_server(self, *args: Any, **words: Any) -> Any:
        """A server behind the gate."""
        return super().make_server(*args, **{**words, "server_class": _GatedServer})

    @staticmethod
    def has_handled(association: Any) -> None:
        """Lets an association send another instance."""
        connection = association.dul.socket.socket
        if connection is not None:
            connection.unhandled = 0

    def cut_off(self) -> None:
        """Cuts off every connection."""
        for connections in self.gate.values():
            connections.cut_off()


class _GatedServer(ThreadedAssociationServer):
    """Closes what comes from other addresses, without having read a byte."""

    request_queue_size = 64
    ae: GatedEntity

    def __init__(self, *args: Any, **words: Any) -> None:
        self._strangers: set[str] = set()
        super().__init__(*args, **words)

    def get_request(self) -> tuple[PduSocket, Any]:
        connection, address = super().get_request()
        return PduSocket(connection), address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        address = plain_address(client_address[0])
        connections = self.ae.gate.get(address)
        if connections is not None:
            return connections.admit(request)
        if address not in self._strangers and len(self._strangers) < _MOST_STRANGERS:
            self._strangers.add(address)
            _LOG.warning("refused: %s is the address of no --peer", address)
        return False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: a connection that ends early is its peer's affair."""


def _is_silent(connection: socket.socket) -> bool:
    return isinstance(connection, PduSocket) and connection.is_silent
