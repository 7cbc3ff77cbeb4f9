"""The health page, asked by a client that is not ours."""

import shutil
import socket
import subprocess
from socketserver import BaseServer

import pytest
import requests

from segpipe.errors import ConfigError, OutputError
from segpipe.serving import health
from segpipe.serving.health import HealthPage, HealthServerConfig

WELL = {"status": "ok", "up_s": 3, "series": {"queued": 2, "done": 5}, "reasons": {"no lungs": 4}}


@pytest.fixture
def open_page(monkeypatch):
    monkeypatch.setattr(
        BaseServer.serve_forever, "__defaults__", (0.02,)
    )  # seconds until a server sees that it is to end
    pages = []

    def start(told=WELL, **door):
        pages.append(HealthPage(told if callable(told) else lambda: told, HealthServerConfig(port=0, **door)))
        pages[-1].start()
        return f"http://127.0.0.1:{pages[-1].port}"

    yield start
    for page in pages:
        page.stop()


def test_counters_as_json_and_for_people(open_page):
    address = open_page()
    assert requests.get(f"{address}/health", timeout=5).json() == WELL
    page = requests.get(address, timeout=5).text
    assert "<td>queued</td><td>2</td>" in page
    assert "<td>no lungs</td><td>4</td>" in page


def test_trouble_is_an_error_for_monitors_and_escaped_for_people(open_page):
    address = open_page({**WELL, "status": "<away>"})
    assert requests.get(f"{address}/health", timeout=5).status_code == 503
    assert "&lt;away&gt;" in requests.get(address, timeout=5).text


def test_the_page_asks_for_its_password(open_page):
    address = open_page(user="me", password="sesame")
    assert requests.get(address, timeout=5).status_code == 401
    assert requests.get(address, auth=("me", "wrong"), timeout=5).status_code == 401
    assert requests.get(address, auth=("me", "sesame"), timeout=5).status_code == 200


def test_nothing_else_is_served(open_page):
    assert requests.get(f"{open_page()}/queue.sqlite", timeout=5).status_code == 404


def test_tls_with_a_certificate(open_page, tmp_path):
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words.split(), *names], check=True, capture_output=True)
    address = open_page(certificate=certificate, key=key).replace("http:", "https:")
    assert requests.get(f"{address}/health", verify=str(certificate), timeout=5).json() == WELL


def test_a_taken_port(open_page):
    port = int(open_page().rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match="health page cannot be opened"):
        HealthPage(lambda: WELL, HealthServerConfig(port=port))


def test_a_certificate_that_is_none(tmp_path):
    (tmp_path / "a.pem").write_text("nothing")
    with pytest.raises(ConfigError, match="certificate of the health page"):
        HealthPage(lambda: WELL, HealthServerConfig(port=0, certificate=tmp_path / "a.pem", key=tmp_path / "a.pem"))


@pytest.fixture
def call():
    """Connects to a page without asking for it."""
    calls = []

    def start(address):
        calls.append(socket.create_connection(("127.0.0.1", int(address.rsplit(":", 1)[1])), 60))
        return calls[-1]

    yield start
    for one in calls:
        one.close()


def test_callers_that_ask_for_nothing_keep_nobody_out(open_page, call):
    address = open_page()
    idle = [call(address) for _ in range(health.MOST_CALLERS + 8)]
    assert requests.get(f"{address}/health", timeout=60).json() == WELL
    assert all(one.recv(1) == b"" for one in idle[:8])


@pytest.mark.parametrize("said", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nA: b\r\n"])
def test_a_caller_that_takes_too_long_is_cut_off(open_page, call, monkeypatch, said):
    monkeypatch.setattr(health, "LONGEST_S", 0.1)
    caller = call(open_page())
    caller.sendall(said)
    assert caller.recv(1) == b""


def test_of_a_long_request_the_beginning_is_read(open_page, call):
    lines = b"".join(b"A%d: %s\r\n" % (number, b"b" * 2000) for number in range(90))
    caller = call(open_page())
    caller.sendall(b"GET /health HTTP/1.1\r\n" + lines)  # and no end
    assert caller.recv(12) == b"HTTP/1.0 200"
    caller = call(open_page())
    caller.sendall(b"GET /" + b"a" * 2**17)
    assert caller.recv(12) == b"only / and /"


def test_what_goes_wrong_is_on_no_stream(open_page, call, capfd, caplog):
    def fail():
        raise OutputError("the queue cannot be read", facts={"patient": "Secret"})

    assert requests.get(f"{open_page(fail)}/health", timeout=60).json() == {"status": "the queue cannot be read"}
    address = open_page(lambda: 1 / 0)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{address}/health", timeout=60)
    assert caplog.messages == ["the health page fails: ZeroDivisionError"]
    call(address).sendall(b"\x16\x03\x01 no HTTP \x00\xff\r\n\r\n")
    assert requests.get(f"{address}/other", timeout=60).status_code == 404
    assert "".join(capfd.readouterr()) == ""
