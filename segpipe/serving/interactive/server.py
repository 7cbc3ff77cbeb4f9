"""The process that listens: uvicorn on a socket of our own, so that a taken port is one clear message."""

import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from segpipe.errors import ConfigError

MOST_CALLERS, LONGEST_HEAD = 32, 2**14
"""Calls at a time, and bytes of the head of one."""


@dataclass(frozen=True)
class Listening:
    """Where the service listens.

    Args:
        host: Address.
        port: Port; 0 for any.
        certificate: PEM file for TLS, or None.
        key: PEM file of its key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None


def serve(app: FastAPI, where: Listening) -> None:
    """Serves until SIGTERM or Ctrl-C; says where it listens. No call is logged: paths can name patients.

    Raises:
        ConfigError: when the port is taken or the certificate cannot be used.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn ends first, and then raises it once more
    with _listen(where) as door:
        config = uvicorn.Config(
            app,
            log_level="critical",  # a traceback may quote; the application says what there is to say
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CALLERS,
            h11_max_incomplete_event_size=LONGEST_HEAD,
            timeout_keep_alive=10,
            timeout_graceful_shutdown=10,
            ssl_certfile=where.certificate,
            ssl_keyfile=where.key,
        )
        _load(config, where)
        scheme = "https" if where.certificate else "http"
        print(f"listening on {scheme}://{where.host}:{door.getsockname()[1]}", flush=True)
        uvicorn.Server(config).run(sockets=[door])


def _listen(where: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    try:
        return socket.create_server((where.host, where.port), family=family)
    except OSError as error:
        facts = {"host": where.host, "port": where.port, "found": error.strerror}
        raise ConfigError("the service cannot listen", facts=facts, hint="choose another --port") from error


def _load(config: uvicorn.Config, where: Listening) -> None:
    try:
        config.load()
    except OSError as error:
        raise ConfigError(
            "the certificate of the service cannot be used",
            facts={"certificate": where.certificate, "key": where.key, "found": error.strerror or type(error).__name__},
        ) from error
