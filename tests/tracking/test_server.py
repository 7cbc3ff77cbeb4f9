import logging
import socket
import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path

import pytest
from filelock import FileLock

from segpipe.errors import ConfigError, ServiceError, explain
from segpipe.system import credentials
from segpipe.tracking import server
from segpipe.tracking.server import absolute_uri, artifact_location, connect, silence
from tests.support.workers import free_port


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "/data/mlruns", "file:///data/mlruns"])
def test_folders_are_refused_with_the_way_out(uri):
    with pytest.raises(ConfigError) as caught:
        connect(uri)
    assert explain(caught.value) == (
        "ConfigError: tracking.uri must be a database or a server, not a folder\n"
        f"  tracking.uri  {uri}\n"
        "  try           tracking.uri=sqlite:///mlflow.db or tracking.uri=http://HOST:PORT"
    )


def test_a_dead_server_is_reported_before_mlflow_is_even_imported(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    address = f"http://ann:secret@127.0.0.1:{free_port()}"
    with pytest.raises(ServiceError) as caught:
        connect(address)
    assert caught.value.message == "the MLflow server cannot be used"
    assert caught.value.facts["tracking.uri"] == address.replace("ann:secret@", "")
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


def test_artifacts_lie_next_to_the_database_and_servers_choose_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = (tmp_path / "sub" / "mlartifacts" / "lung_nodule_v2").as_uri()
    assert artifact_location(f"sqlite:///{tmp_path}/sub/m.db", "lung nodule/v2") == expected
    assert artifact_location("postgresql://h/db", "a") == (Path.cwd() / "mlartifacts" / "a").as_uri()
    assert artifact_location("https://h", "a") is None


class SignIn(BaseHTTPRequestHandler):
    """A tracking server without experiments that lets one user in, or one token."""

    wanted, seen = f"Basic {b64encode(b'ann:p@ss/w').decode()}", []

    def do_GET(self):
        self._answer(200 if self.path == "/" else 404)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        given = self.headers.get("Authorization", "")
        self.seen.append(given)
        self._answer(200 if given in (self.wanted, "Bearer dapi0123") else 403 if "eve" in given else 401)

    def _answer(self, status):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"{}" if status == 200 else b"no entry")

    def log_message(self, *words):
        return


@pytest.fixture
def sign_in(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(credentials, "_kept", {})
    monkeypatch.setattr(server, "_lent", {})
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.delenv(credentials.HANDED_DOWN, raising=False)
    with HTTPServer(("127.0.0.1", 0), SignIn) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{site.server_port}"
        site.shutdown()


@pytest.mark.parametrize("user", ["ann:p@ss/w", "ann:p%40ss%2Fw", "dapi0123"])
def test_user_and_password_of_an_address_sign_in_and_are_in_no_address_that_mlflow_sees(sign_in, user):
    assert connect(f"http://{user}@{sign_in}").tracking_uri == f"http://{sign_in}"
    assert connect(f"http://{sign_in}").search_experiments() == []  # as they are known by now


def test_a_refusal_says_how_to_sign_in_and_another_server_is_never_given_the_password(sign_in, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "bob")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "bobs")
    connect(f"http://ann:p@ss/w@{sign_in}")
    other = sign_in.replace("127.0.0.1", "localhost")
    SignIn.seen.clear()
    with pytest.raises(ServiceError) as caught:
        connect(f"http://{other}")
    assert SignIn.seen == [f"Basic {b64encode(b'bob:bobs').decode()}"]
    assert caught.value.message == "the MLflow server refuses user and password"
    assert caught.value.hint.startswith("export MLFLOW_TRACKING_USERNAME=… and MLFLOW_TRACKING_PASSWORD=…")
    with pytest.raises(ServiceError, match="refuses user and password"):
        connect(f"http://eve:x@{other}")


def test_a_database_that_cannot_be_opened_is_explained_without_its_password(caplog):
    with pytest.raises(ServiceError) as caught:
        connect("postgresql+nosuchdriver://ann:hush-hush@db/mlflow?sslpassword=hush")
    assert caught.value.facts["tracking.uri"] == "postgresql+nosuchdriver://db/mlflow"
    assert "export MLFLOW_TRACKING_URI=…" in caught.value.hint
    assert "hush" not in explain(caught.value) + caplog.text
    assert caught.value.__suppress_context__  # so that a traceback has nothing of what the driver said


def test_what_mlflow_itself_logs_of_an_address_is_without_its_password(monkeypatch):
    monkeypatch.setattr(credentials, "_kept", {})
    monkeypatch.setattr(logging.getLogger("mlflow"), "handlers", [logging.StreamHandler(text := StringIO())])
    with pytest.raises(ServiceError):
        connect("postgresql+nosuchdriver://ann:hush-hush@db/mlflow")
    logging.getLogger("mlflow.store").warning("cannot open %s", "postgresql+nosuchdriver://ann:hush-hush@db/mlflow")
    logging.getLogger("mlflow.store").warning("with hush-hush")
    assert text.getvalue() == "cannot open ***\nwith ***\n"


def test_a_database_that_another_run_is_making_is_waited_for(tmp_path, new_database):
    address, order = new_database(tmp_path), []
    with FileLock(tmp_path / "mlflow.db.lock"):
        thread = threading.Thread(target=lambda: order.append(connect(address)))
        thread.start()
        thread.join(0.3)
        order.append("made")
    thread.join()
    assert order[0] == "made"
    assert len(order) == 2
    assert [file.name for file in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("place", ["", "/taken/mlflow.db"])
def test_a_database_that_cannot_be_opened_is_reported_after_seconds(tmp_path, monkeypatch, place):
    (tmp_path / "taken").touch()
    slept = []
    monkeypatch.setattr("mlflow.store.db.utils.time.sleep", slept.append)
    with pytest.raises(ServiceError, match="the MLflow server cannot be used"):
        connect(f"sqlite:///{tmp_path}{place}")
    assert sum(slept) < 5
