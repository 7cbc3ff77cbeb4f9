"""Who may call the service and where from, and what it says when it cannot listen."""

import asyncio
import json
import socket
from io import BytesIO

import pytest
from fastapi import FastAPI, HTTPException
from fastapi.security import HTTPBasicCredentials

from segpipe.errors import ConfigError, ImageError
from segpipe.io.pacs.dicomweb.pacs import Pacs
from segpipe.serving.interactive import server
from segpipe.serving.interactive.app import Door, _explain_unforeseen, _guard
from segpipe.serving.interactive.opening import Sources
from segpipe.serving.interactive.server import Listening, serve
from tests.peers.fake_pacs import FakePacs, gives
from tests.samples.synthetic_dicom import ct_slices, thorax


@pytest.fixture
def signals(monkeypatch):
    monkeypatch.setattr(server.signal, "signal", lambda *_: None)


def test_only_the_user_with_the_password_comes_in():
    check = _guard(Door(user="me", password="sesame"))
    check(HTTPBasicCredentials(username="me", password="sesame"))
    for user, password in (("me", "wrong"), ("you", "sesame"), ("", "")):
        with pytest.raises(HTTPException) as caught:
            check(HTTPBasicCredentials(username=user, password=password))
        assert caught.value.status_code == 401


def test_what_nobody_foresaw_is_said_without_quoting(caplog):
    answer = asyncio.run(_explain_unforeseen(None, ValueError("Doe^Jane")))
    assert answer.status_code == 500
    assert json.loads(answer.body)["error"] == "ValueError"
    assert caplog.messages == ["the service fails: ValueError"]
    assert b"Jane" not in answer.body


def test_a_port_that_is_taken_is_reported(signals):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="the service cannot listen"):
        serve(FastAPI(), Listening(port=taken.getsockname()[1]))


def test_a_certificate_that_is_not_there_is_reported(signals, tmp_path):
    with pytest.raises(ConfigError, match="the certificate of the service cannot be used"):
        serve(FastAPI(), Listening(port=0, certificate=tmp_path / "a.pem", key=tmp_path / "a.key"))


def test_a_series_comes_from_the_pacs():
    contents = []
    for dataset in ct_slices(thorax()):
        dataset.SeriesInstanceUID = "3.4"
        dataset.save_as(stream := BytesIO(), enforce_file_format=True)
        contents.append(stream.getvalue())
    pacs = FakePacs().start()
    try:
        pacs.respond = gives("3.4", contents)
        sources = Sources(2**30, pacs=Pacs(pacs.dicomweb), pacs_base=pacs.dicomweb)
        case = sources.read_series("1.2", "3.4")
        assert (case.id, case.grid.shape) == ("scan", thorax().shape)
        pacs.respond = lambda *_: (200, b"[]", {"Content-Type": "application/dicom+json"})
        with pytest.raises(ImageError, match="no CT series at the DICOMweb address"):
            sources.read_series("1.2", "3.4")
    finally:
        pacs.stop()
