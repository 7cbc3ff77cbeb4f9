"""A PACS that is dead, refuses or misbehaves gives one clear message without a UID."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pydicom
import pytest

from segpipe.errors import ConfigError, ServiceError
from segpipe.io.pacs.address import Address, is_address
from segpipe.io.pacs.dicomweb import Pacs, SeriesEntry
from segpipe.io.pacs.errors import ForbiddenError, MissingError, PacsAwayError, PacsFaultError, WrongPasswordError
from segpipe.io.pacs.names import instance_name
from tests.synthetic_dicom import ct_slices, thorax
from tests.workers import free_port


@pytest.fixture
def serve():
    """Starts a server that always gives the same answer; returns its address and what it was asked for."""
    servers = []

    def start(status, content=b"", *, reason=b""):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                asked.append("POST")
                self.send_response(409)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(reason)))
                self.end_headers()
                self.wfile.write(reason)

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
        (403, ForbiddenError, "the PACS does not allow it; could not search"),
        (503, PacsAwayError, "the PACS has no time or room; could not search"),
        (500, PacsFaultError, "the PACS refuses; could not search"),
        (400, ServiceError, "the PACS refuses; could not search"),
        (404, MissingError, "does not know what was asked for"),
    ],
)
def test_refusals(serve, status, kind, message):
    address, _ = serve(status)
    with pytest.raises(kind, match=message) as caught:
        Pacs(address).find_ct()
    assert type(caught.value) is kind
    assert f"HTTP {status}" in str(caught.value)


def test_a_study_that_is_not_there_has_no_series(serve):
    address, _ = serve(404)
    assert Pacs(address).find_in_study("1.2") == []


INSTANCES = b'[{"00080018": {"vr": "UI", "Value": ["1.2.3"]}}, {"00080018": {"vr": "UI", "Value": ["1.2.4"]}}]'


def test_a_pacs_that_ignores_what_it_is_asked_for_has_only_what_it_lists(serve):
    address, _ = serve(200, INSTANCES)
    assert [Pacs(address).has("1.2", uid) for uid in ("1.2.3", "1.2.4", "1.2.5")] == [True, True, False]


def test_instances_are_listed_by_names_that_hide_their_uids(serve):
    address, asked = serve(200, INSTANCES)
    assert Pacs(address).list_instances("1.2", "3.4") == {instance_name("1.2.3"), instance_name("1.2.4")}
    assert "/studies/1.2/series/3.4/instances" in asked[0]


def test_a_series_that_is_not_there_has_no_instances(serve):
    address, _ = serve(404)
    assert Pacs(address).list_instances("1.2", "3.4") == frozenset()


@pytest.fixture
def result(tmp_path):
    """A file to be stored."""
    dataset = ct_slices(thorax())[0]
    dataset.save_as(tmp_path / "result.dcm", enforce_file_format=True)
    return tmp_path / "result.dcm"


@pytest.mark.parametrize(
    ("reason", "kind", "message"),
    [
        (0xA700, PacsAwayError, "the PACS has no room for a result"),
        (0xA7FF, PacsAwayError, "the PACS has no room for a result"),
        (0x0110, PacsFaultError, "the PACS did not take a result"),
        (0xC000, ServiceError, "the PACS did not take a result"),
    ],
)
def test_the_reason_in_a_conflict_decides(serve, result, reason, kind, message):
    address, _ = serve(200, b"[]", reason=_failure(reason))
    with pytest.raises(kind, match=message) as caught:
        Pacs(address).store("1.2", [result])
    assert type(caught.value) is kind
    assert f"0x{reason:04X}" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_a_conflict_without_a_reason(serve, result, content):
    address, _ = serve(200, b"[]", reason=content)
    with pytest.raises(ServiceError, match="the PACS refuses; could not store a result") as caught:
        Pacs(address).store("1.2", [result])
    assert "HTTP 409" in str(caught.value)


def test_what_the_pacs_has_already_counts_as_stored(serve, result):
    address, asked = serve(200, b"[]", reason=_failure(0x0111))
    Pacs(address).store("1.2", [result])
    assert asked[-1] == "POST"


def _failure(reason):
    return b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [%d]}}]}}' % reason


def test_what_the_pacs_lists_is_not_sent_again(serve, result):
    uid = str(pydicom.dcmread(result).SOPInstanceUID)
    address, asked = serve(200, INSTANCES.replace(b"1.2.3", uid.encode()))
    Pacs(address).store("1.2", [result])
    assert "POST" not in asked


@pytest.mark.parametrize("content", [b"<html>a portal</html>", b'{"a": 1}'])
def test_an_address_that_is_no_dicomweb(serve, content):
    address, _ = serve(200, content)
    with pytest.raises(PacsFaultError, match="not DICOMweb"):
        Pacs(address).find_ct()


def test_an_authority_that_is_none(tmp_path):
    (tmp_path / "a.pem").write_text("nothing")
    for name in ("a.pem", "b.pem"):
        with pytest.raises(ConfigError, match="--authority must be a file with certificates"):
            Pacs("https://pacs.example/x", authority=tmp_path / name)


def test_addresses_of_studies_and_series():
    study = Address.parse("https://pacs.example:8443/a/dicom-web/studies/1.2.3/")
    assert (study.base, study.study_uid, study.series_uid) == ("https://pacs.example:8443/a/dicom-web", "1.2.3", None)
    series = Address.parse("https://pacs.example/dicom-web/studies/1.2.3/series/4.5?x=1")
    assert (series.base, series.study_uid, series.series_uid) == ("https://pacs.example/dicom-web", "1.2.3", "4.5")
    assert "1.2.3" not in repr(series)
    assert "4.5" not in repr(series)
    assert not is_address("https:/not.an.address")


@pytest.mark.parametrize("path", ["", "/series/1.2", "/studies/", "/studies/1.2/series/3.4/instances/5", "/studies/x"])
def test_addresses_that_name_no_study(path):
    with pytest.raises(ConfigError, match="must name a study") as caught:
        Address.parse(f"https://me:secret@pacs.example/dicom-web{path}")
    assert "secret" not in str(caught.value)


def test_series_are_read_from_the_answer(serve):
    content = (
        b'[{"0020000D": {"vr": "UI", "Value": ["1.2"]}, "0020000E": {"vr": "UI", "Value": ["3.4"]},'
        b' "00201209": {"vr": "IS", "Value": [7]}, "00180015": {"vr": "CS", "Value": ["CHEST"]},'
        b' "00080060": {"vr": "CS", "Value": ["CT"]}},'
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
