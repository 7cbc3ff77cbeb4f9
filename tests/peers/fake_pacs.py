"""A DICOMweb server of a few lines that gives the answers it is told to give, right or wrong."""

import json
from dataclasses import dataclass, field

from tests.peers.faulty_pacs import ROOT, QuietHandler, served

JSON = "application/dicom+json"
STUDY, SERIES, INSTANCE, COUNT, BODY_PART = "0020000D", "0020000E", "00080018", "00201209", "00180015"


@dataclass
class FakePacs:
    """Answers by function; without one, every request with the same.

    Args:
        status: Of each answer.
        content: Of each answer.
        respond: Gives status, content and headers for a method, a path and a body.
    """

    status: int = 200
    content: bytes = b""
    headers: dict = field(default_factory=lambda: {"Content-Type": JSON})
    respond: object = None
    asked: list = field(default_factory=list)

    def start(self):
        """Starts it."""
        self._server, self.base = served(_handler(self))
        return self

    def forget(self):
        """As if it had never been told anything."""
        self.status, self.content, self.headers, self.respond, self.asked = 200, b"", {"Content-Type": JSON}, None, []
        return self

    @property
    def dicomweb(self):
        """The address of its DICOMweb."""
        return f"{self.base}{ROOT}"

    def stop(self):
        """Stops it."""
        self._server.shutdown()
        self._server.server_close()


def entry(study="1.2", series="3.4", count=None, **values):
    """What a PACS says of a series; `values` by tag without its letter, e.g. `t00180015="CHEST"`."""
    given = {STUDY: study, SERIES: series, COUNT: count, **{tag[1:]: value for tag, value in values.items()}}
    return {tag: {"vr": "UI", "Value": [value]} for tag, value in given.items() if value is not None}


def gives(series, files, *, end=True, listed=None):
    """Answers as a PACS with one series: its entry, and its files as parts."""

    def respond(method, path, body):
        if "/series?" in path:
            count = len(files) if listed is None else listed
            return 200, json.dumps([entry(series=series, count=count)]).encode(), {"Content-Type": JSON}
        if "/instances?" in path:
            return 200, b"[]", {"Content-Type": JSON}
        return 200, multipart(files, end=end), {"Content-Type": 'multipart/related; boundary="a b"'}

    return respond


def multipart(contents, *, end=True):
    """The parts of an answer between boundaries `a b`."""
    parts = [b"--a b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in contents]
    return b"".join(parts) + (b"--a b--\r\n" if end else b"")


def _handler(pacs):
    class Handler(QuietHandler):
        def respond(self, body):
            pacs.asked.append((self.command, self.path, body))
            answer = pacs.respond or (lambda *_: (pacs.status, pacs.content, pacs.headers))
            status, content, headers = answer(self.command, self.path, body)
            self.answer(status, content, **headers)

    return Handler
