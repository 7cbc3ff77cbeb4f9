"""A PACS on a bad day: passes requests on to a real one and spoils some of them, as a plan from a seed says."""

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from tests.support.processes import PATIENCE_S

ROOT = "/dicom-web"
STATUSES = ("400", "403", "404", "409", "410", "500", "503")
FAULTS = (*STATUSES, "no room", "307 here", "308 here", "307 away", "308 away", "cut", "unheard", "slow", "odd json")
"""A status without a body; STOW's 409 with the reason A700; redirects to this server and to another one; an answer that
ends in the middle; a request that is carried out though its answer is lost; one that takes its time; and a QIDO answer
with one odd entry more."""
_VERBS = {"no room": ("POST",), "unheard": ("POST",), "odd json": ("GET",)}
_DELAY_S = 0.3
ODD_ENTRIES = (
    '{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["3.4"]},'
    ' "00201209": {"vr": "IS", "Value": [9223372036854775808]}}',
    '{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["3.4"]},'
    ' "00201209": {"vr": "IS", "Value": [Infinity]}}',
    '{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["\\ud800"]}}',
    '{"0020000D": "1.2", "0020000E": {"Value": {"a": 1}}}',
    "[[]]",
    "null",
)


class SeededPlan:
    """Spoils a share of the requests; after `in_a_row` of them one is passed on, so that work gets done.

    Args:
        seed: Decides everything, for requests in the same order.
        share: How many of the requests, from 0 to 1.
        faults: Those to choose from, see `FAULTS`.
        in_a_row: How many may be spoilt one after the other.
    """

    def __init__(self, seed, *, share=0.2, faults=FAULTS, in_a_row=3):
        self._random, self._lock = random.Random(seed), threading.Lock()
        self._share, self._faults, self._in_a_row = share, faults, in_a_row
        self._spoilt = 0

    def __call__(self, verb, path):
        """The fault for a request, or None."""
        with self._lock:
            fitting = [fault for fault in self._faults if verb in _VERBS.get(fault, ("GET", "POST"))]
            drawn = self._random.random() < self._share
            fault = self._random.choice(fitting) if drawn and fitting and self._spoilt < self._in_a_row else None
            self._spoilt = self._spoilt + 1 if fault else 0
            return fault


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    verb: str
    path: str
    headers: dict
    body: bytes


class FaultyPacs:
    """A server on loopback in front of a DICOMweb server, and the other host to which it redirects.

    Args:
        base: The address of the server behind it, without `/dicom-web`.
        plan: Gives the fault for a verb and a path, or None to pass the request on; may be replaced at any time.
    """

    def __init__(self, base, plan=lambda verb, path: None):
        self.base, self.plan = base, plan
        self.spoilt, self.leaked = Counter(), []
        (self._server, self._address), (self._other, self.elsewhere) = map(
            served, (_faulty(self), _recording(self.leaked))
        )

    @property
    def dicomweb(self):
        """The address of its DICOMweb."""
        return f"{self._address}{ROOT}"

    def stop(self):
        """Stops serving."""
        for server in (self._server, self._other):
            server.shutdown()
            server.server_close()


class QuietServer(ThreadingHTTPServer):
    """A server in threads to which a client that goes away is no news."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """Says nothing."""


class QuietHandler(BaseHTTPRequestHandler):
    """Reads a request whole and lets `respond` answer it."""

    def do_GET(self):
        self.respond(self._body())

    do_POST = do_GET  # noqa: N815

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        return content

    def pass_on(self, base, body):
        """What the server behind answers."""
        kept = ("Accept", "Authorization", "Content-Type")
        headers = {name: self.headers[name] for name in kept if name in self.headers}
        address = f"{base}{self.path}"
        return requests.request(self.command, address, data=body, headers=headers, timeout=PATIENCE_S)

    def answer(self, status, content=b"", *, part=1.0, **headers):
        """Answers, or breaks off after a part of the content."""
        self.send_response(status)
        for name, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content[: int(part * len(content))])
        self.close_connection = True

    def log_message(self, format, *args):
        """Says nothing."""


def served(handler):
    """Starts a server; returns it and its address."""
    server = QuietServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


def _faulty(pacs):
    class Handler(QuietHandler):
        def respond(self, body):
            fault = pacs.plan(self.command, self.path)
            if fault:
                pacs.spoilt[fault] += 1
            if fault in STATUSES:
                self.answer(int(fault))
            elif fault == "no room":
                self.answer(409, json.dumps(no_room()).encode(), Content_Type="application/dicom+json")
            elif fault and fault[:3] in ("307", "308"):
                host = pacs.elsewhere if fault.endswith("away") else ""
                self.answer(int(fault[:3]), Location=f"{host}{self.path}")
            else:
                self._pass_on(body, fault)

        def _pass_on(self, body, fault):
            if fault == "slow":
                time.sleep(_DELAY_S)
            answer = self.pass_on(pacs.base, body)
            kind, content = answer.headers.get("Content-Type", ""), answer.content
            if fault == "odd json" and "json" in kind:
                content = with_entry(content, random.Random(self.path).choice(ODD_ENTRIES))
            if fault != "unheard":
                part = 0.5 if fault == "cut" else 1.0
                self.answer(answer.status_code, content, part=part, Content_Type=kind)

    return Handler


def _recording(received):
    class Handler(QuietHandler):
        def respond(self, body):
            received.append(Received(self.command, self.path, dict(self.headers), body))
            self.answer(200, b"[]", Content_Type="application/dicom+json")

    return Handler


def no_room(reason=0xA700):
    """STOW's answer when an object was not taken."""
    return {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}


def with_entry(content, entry):
    """A JSON array with one entry more in front."""
    rest = content.strip()[1:]
    return b"[" + entry.encode() + (b"" if rest.strip() == b"]" else b",") + rest
