"""A real PACS for tests: Orthanc with DICOMweb on this machine alone, and the worker next to it, each in a process."""

import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pydicom
import pytest
import requests

from tests.peers.faulty_pacs import ROOT, QuietHandler, QuietServer
from tests.support.processes import PATIENCE_S, Process, as_main
from tests.support.workers import free_port

USER, PASSWORD = "worker", "not-a-secret"
PLUGINS = [
    Path(folder) / "libOrthancDicomWeb.so" for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins")
]


class Orthanc:
    """One Orthanc whose database outlives its restarts."""

    def __init__(self, folder):
        program = shutil.which("Orthanc")
        plugin = next((path for path in PLUGINS if path.exists()), None)
        if not program or not plugin:
            pytest.skip("Orthanc with its DICOMweb plugin is not installed (Debian: orthanc orthanc-dicomweb)")
        folder.mkdir()
        port = free_port()
        self.base, self.process = f"http://127.0.0.1:{port}", None
        self._command = [program, str(folder / "orthanc.json")]
        self._log = folder / "orthanc.log"
        self.session = requests.Session()
        self.session.auth = (USER, PASSWORD)
        settings = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "Plugins": [str(plugin)],
            "HttpPort": port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomServerEnabled": False,
            "OverwriteInstances": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))

    @property
    def dicomweb(self):
        """The address of its DICOMweb."""
        return f"{self.base}{ROOT}"

    def start(self):
        """Starts unless it runs; waits until it answers."""
        if self.process is not None:
            return self
        with self._log.open("ab") as log:
            # a small message may not wait for the acknowledgement of the last one
            environment = {**os.environ, "TCP_NODELAY": "1"}
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        wait_for(self._answers, PATIENCE_S)
        return self

    def stop(self):
        """Ends it and waits, since a second one on the same database would find it locked."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE_S)
            self.process = None

    def empty(self):
        """Deletes all that it holds."""
        for study in self.session.get(f"{self.base}/studies", timeout=PATIENCE_S).json():
            self.session.delete(f"{self.base}/studies/{study}", timeout=PATIENCE_S).raise_for_status()

    def send(self, file):
        """Stores one file."""
        self.session.post(f"{self.base}/instances", data=Path(file).read_bytes(), timeout=PATIENCE_S).raise_for_status()

    def send_series(self, slices, folder):
        """Stores the slices of a series; returns its UIDs as (study, series)."""
        for number, dataset in enumerate(slices):
            file = folder / f"sent_{number}.dcm"
            dataset.save_as(file, enforce_file_format=True)
            self.send(file)
        return str(slices[0].StudyInstanceUID), str(slices[0].SeriesInstanceUID)

    def count(self, modality):
        """How many instances of a modality there are."""
        return len(self.instances(modality))

    def instances(self, modality):
        """Study UID and SOP instance UID of each instance of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}, "Expand": False}
        found = self.session.post(f"{self.base}/tools/find", json=query, timeout=PATIENCE_S).json()
        return [self._uids(identifier) for identifier in found]

    def datasets(self, modality):
        """All instances of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}, "Expand": False}
        found = self.session.post(f"{self.base}/tools/find", json=query, timeout=PATIENCE_S).json()
        addresses = [f"{self.base}/instances/{identifier}/file" for identifier in found]
        files = [self.session.get(address, timeout=PATIENCE_S).content for address in addresses]
        return [pydicom.dcmread(io.BytesIO(file)) for file in files]

    def _uids(self, identifier):
        tags = self.session.get(f"{self.base}/instances/{identifier}/simplified-tags", timeout=PATIENCE_S).json()
        return tags["StudyInstanceUID"], tags["SOPInstanceUID"]

    def _answers(self):
        try:
            return self.session.get(f"{self.base}/system", timeout=5).ok
        except requests.RequestException:
            return False


class Service:
    """`python -m segpipe serve` beside an Orthanc, with one log for all its lives."""

    def __init__(self, model, dicomweb, state, *flags):
        self.port, self.flags = free_port(), flags
        self.log = state.with_suffix(".log")
        given = ["--model", model, "--dicomweb", dicomweb, "--state", state, "--port", self.port]
        policy = ["--user", USER, "--password-env", "PACS_PASSWORD", "--all-dates", "--stable", 1, "--poll", 1]
        self._words = [str(word) for word in ("serve", *given, *policy, *flags)]
        self.process = None

    def start(self, password=PASSWORD):
        """Starts without waiting for anything."""
        work = (as_main, "segpipe", self._words)
        self.process = Process(*work, cwd=self.log.parent, log=self.log, environment={"PACS_PASSWORD": password})
        return self

    def end(self, number=signal.SIGTERM):
        """Ends it by a signal unless it has ended; returns its exit code."""
        return self.process.end(number)

    def told(self):
        """What it has told so far."""
        return self.log.read_text()

    def health(self):
        """What its health page tells, or None while there is none."""
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/health", timeout=PATIENCE_S).json()
        except requests.RequestException:
            return None

    def status(self):
        """What its health page tells of its state; empty while there is no page."""
        return (self.health() or {"status": ""})["status"]

    def has(self, **counts):
        """True when these are its counts of series and none waits."""
        told = self.health()
        wanted = {"arriving": 0, "queued": 0, "working": 0, **counts}
        return told is not None and all(told["series"][state] == count for state, count in wanted.items())


class TlsFront:
    """Speaks TLS and passes every request on, as a reverse proxy in front of a PACS does (Orthanc's own TLS fails)."""

    def __init__(self, base, certificate):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self._server = QuietServer(("127.0.0.1", 0), _passing_on(base))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.dicomweb = f"https://127.0.0.1:{self._server.server_address[1]}{ROOT}"

    def stop(self):
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()


def _passing_on(base):
    class Handler(QuietHandler):
        def respond(self, body):
            answer = self.pass_on(base, body)
            self.answer(answer.status_code, answer.content, Content_Type=answer.headers.get("Content-Type", ""))

    return Handler


def make_certificate(folder):
    """A file with a key and a certificate for 127.0.0.1 that the key has signed itself."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl is not installed")
    folder.mkdir(exist_ok=True)
    key, certificate, both = folder / "key.pem", folder / "certificate.pem", folder / "both.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words.split(), *names], check=True, capture_output=True)
    both.write_text(key.read_text() + certificate.read_text())
    return both


def wait_for(condition, seconds):
    """Waits until a condition holds; fails when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds} s in vain")
        time.sleep(0.2)
