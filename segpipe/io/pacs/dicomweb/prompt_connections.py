"""HTTP connections on which the head of an answer must come within a time, however steadily it trickles.

The time-out of requests begins anew with every byte.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from segpipe.io.pacs.limits import ANSWER_HEAD_S


class PromptAdapter(HTTPAdapter):
    """Sends requests by such connections."""

    def init_poolmanager(self, *args: Any, **words: Any) -> None:
        """As every adapter does, with pools of its own."""
        super().init_poolmanager(*args, **words)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class _PlainConnection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        with _deadline(self.sock):
            return super().getresponse()


class _TlsConnection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        with _deadline(self.sock):
            return super().getresponse()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


@contextmanager
def _deadline(connection: socket) -> Iterator[None]:
    """Cuts a connection off unless the block has ended in time; the end of the connection would end a head as well."""
    over = threading.Event()

    def cut() -> None:
        over.set()
        with suppress(OSError):
            connection.shutdown(SHUT_RDWR)

    timer = threading.Timer(ANSWER_HEAD_S, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if over.is_set():
        raise TimeoutError
