"""A real PACS for tests: Orthanc with DICOMweb on this machine alone, started, restarted and ended by the test."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests

USER, PASSWORD = "worker", "not-a-secret"
PLUGINS = [
    Path(folder) / "libOrthancDicomWeb.so" for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins")
]


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
        return f"{self.base}/dicom-web"

    def start(self):
        """Starts and waits until it answers."""
        with self._log.open("ab") as log:
            # a small message may not wait for the acknowledgement of the last one
            environment = {**os.environ, "TCP_NODELAY": "1"}
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        wait_for(self._answers, 60)
        return self

    def stop(self):
        """Ends it and waits, since a second one on the same database would find it locked."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def send(self, file):
        """Stores one file."""
        self.session.post(f"{self.base}/instances", data=Path(file).read_bytes(), timeout=30).raise_for_status()

    def count(self, modality):
        """How many instances of a modality there are."""
        return len(self.instances(modality))

    def instances(self, modality):
        """Study UID and SOP instance UID of each instance of a modality."""
        query = {"Level": "Instance", "Query": {"Modality": modality}, "Expand": False}
        found = self.session.post(f"{self.base}/tools/find", json=query, timeout=30).json()
        return [self._uids(identifier) for identifier in found]

    def _uids(self, identifier):
        tags = self.session.get(f"{self.base}/instances/{identifier}/simplified-tags", timeout=30).json()
        return tags["StudyInstanceUID"], tags["SOPInstanceUID"]

    def _answers(self):
        try:
            return self.session.get(f"{self.base}/system", timeout=5).ok
        except requests.RequestException:
            return False


def wait_for(condition, seconds):
    """Waits until a condition holds; fails when it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds} s in vain")
        time.sleep(0.2)
