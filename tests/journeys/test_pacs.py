"""A worker beside a real PACS: killed, restarted and left alone by the PACS, it answers each series exactly once."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest
import requests

from tests.orthanc import PASSWORD, USER, Orthanc, free_port, wait_for
from tests.synthetic_chest import chest_model, chest_series
from tests.synthetic_dicom import PATIENT

pytestmark = pytest.mark.slow
SERIES = 20
PATIENCE_S = 600


@pytest.fixture
def pacs(tmp_path):
    """A running Orthanc."""
    orthanc = Orthanc(tmp_path / "orthanc")
    yield orthanc.start()
    orthanc.stop()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chest_model(tmp_path_factory.mktemp("chest") / "model")


class Service:
    """`python -m segpipe serve` in a process of its own, with one log for all its lives."""

    def __init__(self, model, pacs, state, *flags):
        self.port = free_port()
        self.log = state.with_suffix(".log")
        given = ["--model", model, "--dicomweb", pacs.dicomweb, "--state", state, "--port", self.port]
        habits = ["--user", USER, "--password-env", "PACS_PASSWORD", "--all-dates", "--stable", 1, "--poll", 1]
        self._command = [sys.executable, "-m", "segpipe", "serve", *map(str, [*given, *habits, *flags])]
        self.process = None

    def start(self, password=PASSWORD):
        environment = {**os.environ, "PACS_PASSWORD": password, "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=environment)
        return self

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)

    def health(self):
        return requests.get(f"http://127.0.0.1:{self.port}/health", timeout=10).json()

    def is_idle(self):
        counts = self.health()["series"]
        return counts["done"] == SERIES and not counts["queued"] + counts["working"] + counts["arriving"]


def send(pacs, seeds, tmp_path, **attributes):
    """Sends a study with one series per seed; returns their UIDs as (study, series)."""
    sent = []
    for seed in seeds:
        slices = chest_series(seed, **attributes)
        for number, dataset in enumerate(slices):
            file = tmp_path / f"sent_{number}.dcm"
            dataset.save_as(file, enforce_file_format=True)
            pacs.send(file)
        sent.append((str(slices[0].StudyInstanceUID), str(slices[0].SeriesInstanceUID)))
    return sent


def test_each_series_is_answered_exactly_once(pacs, model, tmp_path):
    service = Service(model, pacs, tmp_path / "state")
    sent = send(pacs, range(SERIES), tmp_path)
    try:
        for answered in (3, 8):
            service.start()
            wait_for(lambda wanted=answered: pacs.count("SR") >= wanted, PATIENCE_S)
            service.end(signal.SIGKILL)
        service.start()
        wait_for(lambda: pacs.count("SR") >= 11, PATIENCE_S)
        pacs.stop()
        pacs.start()
        wait_for(service.is_idle, PATIENCE_S)
        assert requests.get(f"http://127.0.0.1:{service.port}/", timeout=10).ok
    finally:
        service.end()
    once = Counter(study for study, _ in sent)
    assert Counter(study for study, _ in pacs.instances("SR")) == once
    assert Counter(study for study, _ in pacs.instances("SEG")) == once
    _keeps_secrets(service, sent)
    _is_idempotent_without_its_state(pacs, model, tmp_path)


def _keeps_secrets(service, sent):
    log = service.log.read_text()
    assert "is answered" in log
    for secret in (PASSWORD, PATIENT, *(uid for pair in sent for uid in pair)):
        assert secret not in log


def _is_idempotent_without_its_state(pacs, model, tmp_path):
    before = pacs.instances("SR") + pacs.instances("SEG")
    other = Service(model, pacs, tmp_path / "other", "--once").start()
    assert other.process.wait(PATIENCE_S) == 0
    assert Counter(pacs.instances("SR") + pacs.instances("SEG")) == Counter(before)
    assert other.log.read_text().count("has been answered before") == SERIES


def test_what_cannot_be_answered_is_told_once(pacs, model, tmp_path):
    send(pacs, [1], tmp_path, lungs=False)
    send(pacs, [2], tmp_path, Modality="MR")
    send(pacs, [3], tmp_path, BodyPartExamined="ABDOMEN")
    service = Service(model, pacs, tmp_path / "state", "--once").start()
    assert service.process.wait(PATIENCE_S) == 2
    log = service.log.read_text()
    assert log.count("no lungs in the scan") == 1
    assert log.count("given up") == 1
    assert pacs.count("SR") == 0


def test_a_wrong_password_ends_the_worker(pacs, model, tmp_path):
    service = Service(model, pacs, tmp_path / "state").start(password="wrong")
    assert service.process.wait(PATIENCE_S) == 2
    log = service.log.read_text()
    assert "the PACS refuses user and password" in log
    assert "Traceback" not in log
