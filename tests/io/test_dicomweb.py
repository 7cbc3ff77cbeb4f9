"""A PACS that is dead, refuses or misbehaves gives one clear message without a UID."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from segpipe.errors import ConfigError, ServiceError
from segpipe.io.dicomweb import Pacs, PacsAwayError, SeriesEntry, WrongPasswordError
from tests.orthanc import free_port


@pytest.fixture
def serve():
    """Starts a server that always gives the same answer; returns its address and what it was asked for."""
    servers = []

    def start(status, content=b""):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/dicom-web", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_dead_pacs(tmp_path):
    with pytest.raises(PacsAwayError, match="the PACS does not answer") as caught:
        Pacs(f"http://127.0.0.1:{free_port()}/dicom-web").fetch("1.2.3", "4.5.6", folder=tmp_path)
    assert "4.5.6" not in str(caught.value)
    assert "is the PACS running?" in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, WrongPasswordError, "refuses user and password"),
        (403, WrongPasswordError, "refuses user and password"),
        (503, PacsAwayError, "the PACS refuses; could not search"),
        (400, ServiceError, "the PACS refuses; could not search"),
        (404, ServiceError, "does not know what was asked for"),
    ],
)
def test_refusals(serve, status, kind, message):
    address, _ = serve(status)
    with pytest.raises(kind, match=message) as caught:
        Pacs(address).find_ct()
    assert type(caught.value) is kind or status == 404
    assert f"HTTP {status}" in str(caught.value)


def test_series_are_read_from_the_answer(serve):
    content = (
        b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["3.4"]},'
        b' "00201209": {"vr": "IS", "Value": [7]}, "00180015": {"vr": "CS", "Value": ["CHEST"]}},'
        b' {"0020000E": {"vr": "UI", "Value": ["5.6"]}}]'
    )
    address, asked = serve(200, content)
    assert Pacs(address).find_ct(days=0) == [SeriesEntry("1.2", "3.4", 7, "CHEST")]
    assert "Modality=CT" in asked[0]
    assert "StudyDate=" in asked[0]
    assert "3.4" not in repr(SeriesEntry("1.2", "3.4"))


@pytest.mark.parametrize(
    ("url", "user", "message"),
    [
        ("ftp://pacs/x", None, "http or https address"),
        ("pacs:8042", None, "http or https address"),
        ("https://me:secret@pacs/x", None, "may not hold a password"),
        ("http://pacs.example/x", "me", "may not travel in the clear"),
    ],
)
def test_addresses_that_are_refused(url, user, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Pacs(url, user=user, password="secret")
    assert "secret" not in str(caught.value)
