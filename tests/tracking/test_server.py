import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from segpipe.errors import ConfigError, ServiceError, explain
from segpipe.tracking import server
from segpipe.tracking.server import absolute_uri, artifact_location, connect, silence
from tests.workers import free_port


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "/data/mlruns", "file:///data/mlruns"])
def test_folders_are_refused_with_the_way_out(uri):
    with pytest.raises(ConfigError) as caught:
        connect(uri)
    assert explain(caught.value) == (
        "ConfigError: tracking.uri must be a database or a server, not a folder\n"
        f"  tracking.uri  {uri}\n"
        "  try           tracking.uri=sqlite:///mlflow.db or tracking.uri=http://HOST:PORT"
    )


def test_a_dead_server_is_told_before_mlflow_is_even_imported(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    address = f"http://ann:secret@127.0.0.1:{free_port()}"
    with pytest.raises(ServiceError) as caught:
        connect(address)
    assert caught.value.message == "the MLflow server cannot be used"
    assert caught.value.facts["tracking.uri"] == address.replace("ann:secret", "***")
    assert "tracking.uri=sqlite:///mlflow.db" in caught.value.hint


def test_a_server_that_hangs_is_silent(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(server, "ANSWER_WITHIN_S", 0.2)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        assert silence(f"http://127.0.0.1:{mute.getsockname()[1]}") == "timed out"


def test_a_server_that_refuses_is_not_silent(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    class Forbidden(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(403)
            self.end_headers()

        def log_message(self, *words):
            return

    with HTTPServer(("127.0.0.1", 0), Forbidden) as site:
        threading.Thread(target=site.handle_request, daemon=True).start()
        assert silence(f"http://127.0.0.1:{site.server_port}") is None


def test_a_sqlite_file_is_found_again_from_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri(f"sqlite:///{tmp_path}/sub/m.db") == f"sqlite:///{tmp_path}/sub/m.db"
    assert absolute_uri("http://h:1") == "http://h:1"


def test_artifacts_lie_beside_the_database_and_servers_choose_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    beside = (tmp_path / "sub" / "mlartifacts" / "lung_nodule_v2").as_uri()
    assert artifact_location(f"sqlite:///{tmp_path}/sub/m.db", "lung nodule/v2") == beside
    assert artifact_location("postgresql://h/db", "a") == (Path.cwd() / "mlartifacts" / "a").as_uri()
    assert artifact_location("https://h", "a") is None
