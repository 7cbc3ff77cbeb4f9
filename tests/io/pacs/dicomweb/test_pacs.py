"""A PACS that is dead, refuses or misbehaves gives one clear message without a UID."""

import json

import pydicom
import pytest

from segpipe.errors import ConfigError, ServiceError
from segpipe.io.pacs.address import Address, is_address
from segpipe.io.pacs.dicomweb import web
from segpipe.io.pacs.dicomweb.pacs import Pacs
from segpipe.io.pacs.errors import ForbiddenError, MissingError, PacsAwayError, PacsFaultError, WrongPasswordError
from segpipe.io.pacs.names import instance_name
from tests.peers.fake_pacs import gives
from tests.peers.faulty_pacs import FaultyPacs, no_room
from tests.support.workers import free_port


@pytest.fixture
def file(tmp_path, files):
    (tmp_path / "a.dcm").write_bytes(files[0])
    return tmp_path / "a.dcm"


def test_a_dead_pacs(tmp_path):
    with pytest.raises(PacsAwayError, match="the PACS does not answer") as caught:
        Pacs(f"http://127.0.0.1:{free_port()}/dicom-web").fetch("1.2.3", "4.5.6", folder=tmp_path)
    assert "4.5.6" not in str(caught.value)
    assert "is the PACS running?" in str(caught.value)


def ask(what, pacs, file):
    """Each of the requests that go to a PACS."""
    asked = Pacs(pacs.dicomweb)
    return {
        "find": lambda: asked.find_ct(),
        "look": lambda: asked.find_in_study("1.2"),
        "fetch": lambda: asked.fetch("1.2", "3.4", folder=file.parent / "series"),
        "has": lambda: asked.has("1.2", "5.6"),
        "store": lambda: asked.store("1.2", [file]),
    }[what]()


ONE_AND_ALL = ("find", "look", "fetch", "has", "store")


REFUSALS = [
    (401, WrongPasswordError, "refuses user and password", ONE_AND_ALL),
    (403, ForbiddenError, "the PACS does not allow it; could not", ONE_AND_ALL[1:]),
    (403, PacsFaultError, "the PACS does not allow it; could not search", ["find"]),
    (503, PacsAwayError, "the PACS has no time or room; could not", ONE_AND_ALL),
    (500, PacsFaultError, "the PACS refuses; could not", ONE_AND_ALL),
    (400, PacsFaultError, "the PACS refuses; could not", ONE_AND_ALL),
    (409, PacsFaultError, "the PACS refuses; could not", ONE_AND_ALL),
    (404, MissingError, "does not know what was asked for; could not", ["find", "fetch", "store"]),
    (410, MissingError, "does not know what was asked for; could not", ["find", "fetch", "store"]),
]


@pytest.mark.parametrize(
    ("status", "kind", "message", "what"), [(*refusal, what) for *refusal, asked in REFUSALS for what in asked]
)
def test_refusals(pacs, file, status, kind, message, what):
    pacs.status = status
    with pytest.raises(kind, match=message) as caught:
        ask(what, pacs, file)
    assert type(caught.value) is kind
    assert "3.4" not in str(caught.value)
    assert f"HTTP {status}" in str(caught.value)


def test_what_may_be_tried_again():
    assert issubclass(MissingError, PacsFaultError)
    assert not issubclass(ForbiddenError, PacsFaultError)


def test_a_study_that_is_not_there_has_nothing(pacs, file):
    pacs.status = 404
    assert ask("look", pacs, file) == []
    assert ask("has", pacs, file) is False
    assert Pacs(pacs.dicomweb).list_instances("1.2", "3.4") == frozenset()


def to_a_result(status, content):
    """Answers as a PACS that has nothing, with this when it is sent something."""
    return lambda method, path, body: (status, content, {}) if method == "POST" else (200, b"[]", {})


@pytest.mark.parametrize("status", [200, 202, 409])
@pytest.mark.parametrize(
    ("reason", "kind", "message"),
    [
        (0xA700, PacsAwayError, "no room for a result"),
        (0xA7FF, PacsAwayError, "no room for a result"),
        (0x0110, PacsFaultError, "did not take a result"),
        (0x0122, ServiceError, "did not take a result"),
        (0xC000, ServiceError, "did not take a result"),
    ],
)
def test_reasons_why_an_object_was_not_taken(pacs, file, status, reason, kind, message):
    pacs.respond = to_a_result(status, json.dumps(no_room(reason)).encode())
    with pytest.raises(ServiceError, match=message) as caught:
        ask("store", pacs, file)
    assert type(caught.value) is kind
    assert f"0x{reason:04X}" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{}"])
def test_a_conflict_without_a_reason(pacs, file, content):
    pacs.respond = to_a_result(409, content)
    with pytest.raises(PacsFaultError, match="the PACS refuses; could not store a result") as caught:
        ask("store", pacs, file)
    assert "HTTP 409" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"<html>",
        b'{"00081198": 1}',
        b'{"00081198": {"Value": [{"00081197": {"Value": [1e999]}}]}}',
        b'{"00081198": {"Value": [3]}}',
        b"[" * 10**5,
        b'{"a": "' + b"b" * 2**20 + b'"}',
    ],
    ids=lambda content: content[:40],
)
def test_odd_answers_to_a_result(pacs, file, content):
    pacs.respond = to_a_result(200, content)
    with pytest.raises(PacsFaultError, match=r"not DICOMweb|more than is taken"):
        ask("store", pacs, file)


def test_what_the_pacs_has_already_counts_as_stored(pacs, file):
    pacs.respond = to_a_result(409, json.dumps(no_room(0x0111)).encode())
    ask("store", pacs, file)
    assert [method for method, *_ in pacs.asked] == ["GET", "POST"]


def test_what_the_pacs_lists_is_not_sent_again(pacs, file):
    pacs.content = listed(pydicom.dcmread(file).SOPInstanceUID)
    ask("store", pacs, file)
    assert [method for method, *_ in pacs.asked] == ["GET"]


def test_files_are_stored_as_they_are(pacs, file):
    ask("store", pacs, file)
    method, path, body = pacs.asked[-1]
    assert (method, path) == ("POST", "/dicom-web/studies/1.2")
    assert body.split(b"\r\n\r\n", 1)[1].startswith(file.read_bytes())


def listed(*uids):
    return json.dumps([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in uids]).encode()


def test_an_instance_is_there_only_when_the_pacs_names_it(pacs, file):
    for uid, there in (("5.6", True), ("5.7", False)):
        pacs.content = listed("1.1", uid)
        assert ask("has", pacs, file) is there


def test_instances_are_listed_by_names_that_hide_their_uids(pacs):
    pacs.content = listed("1.2.3", "1.2.4")
    assert Pacs(pacs.dicomweb).list_instances("1.2", "3.4") == {instance_name("1.2.3"), instance_name("1.2.4")}
    assert "/studies/1.2/series/3.4/instances?" in pacs.asked[0][1]


@pytest.mark.parametrize("uid", ["..", "1..2", "1.2/../..", "1.2?a=b", "a", "", "1" * 65])
def test_what_is_no_uid_is_part_of_no_address(pacs, tmp_path, uid):
    for ask_for in (Pacs(pacs.dicomweb).find_in_study, lambda uid: Pacs(pacs.dicomweb).has(uid, "1.2")):
        with pytest.raises(ServiceError, match="must have UIDs"):
            ask_for(uid)
    assert pacs.asked == []


def test_an_answer_without_end(pacs, file, monkeypatch):
    monkeypatch.setattr(web, "ANSWER_S", -1.0)
    pacs.content = b"[]"
    with pytest.raises(PacsAwayError, match="could not search"):
        ask("find", pacs, file)


@pytest.fixture
def front(pacs, files):
    """A faulty server in front of one that gives a series."""
    pacs.respond = gives("3.4", files)
    started = FaultyPacs(pacs.base)
    yield started
    started.stop()


def test_an_answer_that_breaks_off(front, file):
    front.plan = lambda method, path: "cut"
    for what in ("find", "look", "fetch"):
        with pytest.raises(PacsAwayError, match="the PACS does not answer"):
            ask(what, front, file)


@pytest.mark.parametrize("fault", ["307 away", "308 away"])
def test_nothing_is_sent_to_another_server(front, file, fault):
    for what in ONE_AND_ALL:
        front.plan = lambda method, path, what=what: None if (what, method) == ("store", "GET") else fault
        with pytest.raises(PacsFaultError, match="redirects to where nothing may be sent") as caught:
            ask(what, front, file)
        assert front.elsewhere not in str(caught.value)
    assert front.leaked == []


def test_a_redirect_to_the_same_server_is_followed_with_the_same_body(front, pacs, file):
    faults = iter(["307 here", "308 here", None] * 2)
    front.plan = lambda method, path: next(faults)
    pacs.respond = None
    ask("store", front, file)
    method, path, body = pacs.asked[-1]
    assert (method, path) == ("POST", "/dicom-web/studies/1.2")
    assert file.read_bytes() in body


def test_redirects_in_a_circle(front, file):
    front.plan = lambda method, path: "307 here"
    with pytest.raises(PacsFaultError, match="redirects to where nothing may be sent"):
        ask("find", front, file)


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
