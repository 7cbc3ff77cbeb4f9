"""A request goes to the PACS and to nobody else, however it is redirected."""

import socket
import threading
from contextlib import suppress
from io import BytesIO

import pytest
import requests
from requests.adapters import BaseAdapter
from urllib3 import HTTPResponse

from segpipe.io.pacs.dicomweb import prompt_connections
from segpipe.io.pacs.dicomweb.web import Request, Session, Web
from segpipe.io.pacs.errors import PacsAwayError, PacsFaultError


class _Endless(BytesIO):
    """A body that nobody may read."""

    def read(self, *_):
        pytest.fail("the body of a redirect was read")


class _Network(BaseAdapter):
    """Every host there is: the first request is redirected, further ones are answered."""

    def __init__(self, status, target):
        super().__init__()
        self.status, self.target, self.asked = status, target, []

    def send(self, request, **_):
        self.asked.append((request.method, request.url, request.headers.get("Authorization"), request.body))
        answer = requests.Response()
        answer.status_code, answer.url, answer.raw = 200, request.url, HTTPResponse(_Endless(), preload_content=False)
        if len(self.asked) == 1:
            answer.status_code, answer.headers["Location"] = self.status, self.target
        return answer

    def close(self):
        pass


def ask(method, status, target, base="http://pacs:8042/dicom-web"):
    """The requests that leave, as (method, URL, authorisation, body)."""
    network, session = _Network(status, target), Session()
    session.auth = ("me", "secret")
    for scheme in ("http://", "https://"):
        session.mount(scheme, network)
    body = b"pixels" if method == "POST" else None
    web = Web(base, base, session=session, timeout_s=1)
    with suppress(PacsFaultError), web.ask("try", Request("studies/1.2", method=method, body=body)):
        pass
    return network.asked


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "target",
    [
        "http://other:8042/dicom-web/a",
        "http://pacs:8043/dicom-web/a",
        "http://pacs/dicom-web/a",
        "//other/dicom-web/a",
        "http://pacs:8042@other/a",
        "http://me@pacs:8042/a",
        "https://pacs/dicom-web/a",
        "ftp://pacs:8042/a",
        "file:///etc/passwd",
        "http://[pacs/a",
        "http://pacs:x/a",
    ],
)
def test_other_places_get_nothing(method, status, target):
    assert len(ask(method, status, target)) == 1


def test_tls_is_not_given_up():
    assert len(ask("POST", 307, "http://pacs/dicom-web/a", base="https://pacs/dicom-web")) == 1
    assert len(ask("POST", 307, "http://pacs:443/dicom-web/a", base="https://pacs/dicom-web")) == 1


@pytest.mark.parametrize(
    ("base", "target", "url"),
    [
        ("http://pacs:8042/x", "/y", "http://pacs:8042/y"),
        ("http://pacs:8042/x", "z", "http://pacs:8042/x/studies/z"),
        ("http://pacs:8042/x", "https://pacs:8042/y", "https://pacs:8042/y"),
        ("http://pacs/x", "https://pacs/y", "https://pacs/y"),
        ("http://pacs/x", "http://PACS:80/y", "http://PACS:80/y"),
        ("https://pacs/x", "https://pacs:443/y", "https://pacs:443/y"),
    ],
)
def test_the_same_request_goes_to_the_same_place(base, target, url):
    first, second = ask("POST", 308, target, base=base)
    assert second == (first[0], requests.Request("POST", url).prepare().url, first[2], b"pixels")


def test_a_method_is_never_changed():
    assert len(ask("POST", 302, "/y")) == 1
    assert [method for method, *_ in ask("GET", 302, "/y")] == ["GET", "GET"]


@pytest.fixture
def head():
    """A head that has no end, and the event that ends what follows: every moment a byte."""
    return b"HTTP/1.1 200 OK\r\nA: ", threading.Event()


@pytest.fixture
def trickling(head):
    """The address of a server that gives a head."""
    server, (begin, over) = socket.create_server(("127.0.0.1", 0)), head

    def serve():
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.recv(2**16)
            connection.sendall(begin)
            while not over.wait(0.01):
                connection.sendall(b"a")

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    over.set()
    thread.join()
    server.close()


def test_a_head_that_trickles_has_an_end(trickling, monkeypatch):
    monkeypatch.setattr(prompt_connections, "ANSWER_HEAD_S", 0.2)
    web = Web(trickling, trickling, session=Session(), timeout_s=60)
    with pytest.raises(PacsAwayError, match="the PACS does not answer; could not try"), web.ask("try", Request("a")):
        pass


def test_a_head_that_breaks_off_is_no_empty_answer(trickling, head):
    head[1].set()
    web = Web(trickling, trickling, session=Session(), timeout_s=60)
    with pytest.raises(PacsAwayError, match="the PACS does not answer"), web.ask("try", Request("a")) as answer:
        list(answer.pieces(100))
