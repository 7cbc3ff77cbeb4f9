"""A page that says a person, and a monitor, how the worker is: what waits, what is done, whether the PACS answers."""

import base64
import hmac
import html
import json
import logging
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError, SegpipeError
from segpipe.system.connections import Connections

_LOG = logging.getLogger("segpipe.serve")
MOST_CALLERS, LONGEST_S, MOST_BYTES = 32, 10.0, 2**14
"""Callers at a time, seconds that one may take, and bytes of a request that are read."""
Report = Callable[[], Mapping[str, Any]]
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>segpipe serve</title>
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="10">
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:36rem;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td{{padding:.3rem .5rem;border-bottom:1px solid #8885}}
td+td{{text-align:right;font-variant-numeric:tabular-nums}}</style></head>
<body><h1>segpipe serve</h1><table>{rows}</table>
<p>For research; not a medical device. <a href="health">JSON</a></p></body></html>"""


@dataclass(frozen=True)
class HealthServerConfig:
    """Who may look, and how.

    Args:
        host: Address to listen on.
        port: Port; 0 for any.
        user: For basic authentication, or None.
        password: Of that user.
        certificate: PEM file for TLS, or None.
        key: PEM file of its key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    user: str | None = None
    password: str | None = None
    certificate: Path | None = None
    key: Path | None = None


class HealthPage:
    """Serves `/` for people and `/health` for monitors; 503 while something is wrong.

    Args:
        report: Gives what is shown; its `status` is `ok` when all is well.
        door: See `HealthServerConfig`.

    Raises:
        ConfigError: when the port is taken or the certificate cannot be used.
    """

    def __init__(self, report: Report, door: HealthServerConfig) -> None:
        try:
            self._server = _Server((door.host, door.port), _handler(report, door))
        except OSError as error:
            facts = {"host": door.host, "port": door.port, "found": error.strerror}
            raise ConfigError("the health page cannot be opened", facts=facts, hint="choose another --port") from error
        if door.certificate is not None:
            self._secure(door.certificate, door.key)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Serves in a thread."""
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def stop(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    def _secure(self, certificate: Path, key: Path | None) -> None:
        try:
            self._server.socket = _secured(self._server.socket, certificate, key)
        except ConfigError:
            self._server.server_close()
            raise


class _Server(ThreadingHTTPServer):
    """Serves a few callers at a time and none for long; the oldest gives way to a new one."""

    request_queue_size = 2 * MOST_CALLERS

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections = Connections(MOST_CALLERS)
        super().__init__(address, handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self._connections.admit(request)

    def service_actions(self) -> None:
        self._connections.cut_off(older_than_s=LONGEST_S)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Reports the kind alone, since texts may quote; a caller that breaks off or speaks no TLS is no news."""
        kind = sys.exc_info()[0]
        if kind is not None and not issubclass(kind, OSError):
            _LOG.error("the health page fails: %s", kind.__name__)


class _Beginning:
    """The first bytes of a request; what follows is as if it had never been sent."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream, self._left = stream, MOST_BYTES
        self.close = stream.close

    def readline(self, size: int) -> bytes:
        """A line, or what of it is within the bound."""
        line = self._stream.readline(min(size, self._left))
        self._left -= len(line)
        return line


def _secured(socket: Any, certificate: Path, key: Path | None) -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        raise ConfigError(
            "the certificate of the health page cannot be used",
            facts={"certificate": certificate, "key": key, "found": error.strerror or type(error).__name__},
        ) from error
    # the handshake happens in the thread of the request, so that a silent caller holds up nobody else
    return context.wrap_socket(socket, server_side=True, do_handshake_on_connect=False)


def _handler(report: Report, door: HealthServerConfig) -> type[BaseHTTPRequestHandler]:
    credentials = f"{door.user}:{door.password or ''}".encode()
    wanted = b"Basic " + base64.b64encode(credentials)

    class Handler(BaseHTTPRequestHandler):
        timeout = LONGEST_S
        server_version, sys_version = "segpipe", ""

        def setup(self) -> None:
            super().setup()
            self.rfile: Any = _Beginning(self.rfile)

        def do_GET(self) -> None:
            if door.user is not None and not hmac.compare_digest(
                self.headers.get("Authorization", "").encode(), wanted
            ):
                self._send(401, "text/plain", "user and password, please")
            elif self.path == "/health":
                shown = _ask(report)
                self._send(200 if shown["status"] == "ok" else 503, "application/json", json.dumps(shown))
            elif self.path == "/":
                self._send(200, "text/html", _page(_ask(report)))
            else:
                self._send(404, "text/plain", "only / and /health")

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing: a monitor asks every few seconds."""

        def _send(self, status: int, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="segpipe"')
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _ask(report: Report) -> Mapping[str, Any]:
    """What is shown; that it cannot be read is shown, too."""
    try:
        return report()
    except SegpipeError as error:
        return {"status": error.message}


def _page(shown: Mapping[str, Any]) -> str:
    """Counters first, then why series were refused or given up."""
    nested = [value for value in shown.values() if isinstance(value, Mapping)]
    plain = {key: value for key, value in shown.items() if not isinstance(value, Mapping)}
    pairs = [pair for table in (plain, *nested) for pair in table.items()]
    rows = "".join(
        f"<tr><td>{html.escape(str(key))}</td><td>{html.escape(str(value))}</td></tr>" for key, value in pairs
    )
    return _PAGE.format(rows=rows)
