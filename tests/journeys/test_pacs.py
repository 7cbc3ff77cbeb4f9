"""A worker beside a real PACS: killed, restarted and left alone by the PACS, it answers each series exactly once."""

import re
import signal
from collections import Counter
from pathlib import Path

import pytest
import requests

from segpipe.inference.batch.memory import parse_bytes
from tests.peers.dcmtk import storescu
from tests.peers.orthanc import PASSWORD, PATIENCE_S, Orthanc, Service, TlsFront, make_certificate, wait_for
from tests.samples.synthetic_chest import chest_series
from tests.samples.synthetic_dicom import PATIENT, save
from tests.support.workers import free_port

pytestmark = pytest.mark.slow
SERIES = 8


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    """An Orthanc for all tests of this file."""
    started = Orthanc(tmp_path_factory.mktemp("pacs") / "orthanc")
    yield started
    started.stop()


@pytest.fixture
def pacs(orthanc):
    """A running Orthanc that holds nothing."""
    orthanc.start().empty()
    return orthanc


@pytest.fixture
def serve(chest_model, tmp_path):
    """Makes services beside an Orthanc; what still runs when the test is over is ended."""
    services = []

    def make(pacs, name, *flags):
        services.append(Service(chest_model, pacs.dicomweb, tmp_path / name, *flags))
        return services[-1]

    yield make
    for service in services:
        if service.process is not None:
            service.end(signal.SIGKILL)


def test_each_series_is_answered_exactly_once(pacs, serve, tmp_path):
    service, state = serve(pacs, "state"), tmp_path / "state"
    state.mkdir(mode=0o755)
    sent = [pacs.send_series(chest_series(seed), tmp_path) for seed in range(SERIES)]
    for answered in (2, 4):
        service.start()
        wait_for(lambda wanted=answered: pacs.count("SR") >= wanted, PATIENCE_S)
        service.end(signal.SIGKILL)  # in the middle of something
        assert not [path for path in (state, *state.rglob("*")) if path.stat().st_mode & 0o077]
    service.start()
    wait_for(lambda: pacs.count("SR") >= 5, PATIENCE_S)
    pacs.stop()
    wait_for(lambda: service.status().startswith("the PACS does not answer"), PATIENCE_S)
    pacs.start()
    wait_for(lambda: service.has(done=SERIES), PATIENCE_S)
    wait_for(lambda: service.status() == "ok", PATIENCE_S)
    assert requests.get(f"http://127.0.0.1:{service.port}/", timeout=PATIENCE_S).ok
    assert service.end() == 0
    once = Counter(study for study, _ in sent)
    assert Counter(study for study, _ in pacs.instances("SR")) == once
    assert Counter(study for study, _ in pacs.instances("SEG")) == once
    _keeps_secrets(service, sent)
    _leaves_no_image(tmp_path / "state")
    _is_idempotent_without_its_state(pacs, serve(pacs, "other", "--once"))


def _keeps_secrets(service, sent):
    told = service.told()
    assert "is answered" in told
    assert "the PACS answers again" in told
    for secret in (PASSWORD, PATIENT, *(uid for pair in sent for uid in pair)):
        assert secret not in told


def _leaves_no_image(state):
    assert [file.name for file in state.rglob("*.dcm")] == []


def _is_idempotent_without_its_state(pacs, other):
    before = pacs.instances("SR") + pacs.instances("SEG")
    assert other.start().process.wait(PATIENCE_S) == 0
    assert Counter(pacs.instances("SR") + pacs.instances("SEG")) == Counter(before)
    assert other.told().count("has been answered before") == SERIES


def test_what_cannot_be_answered_is_refused_once_each_with_a_reason(pacs, serve, tmp_path):
    pacs.send_series(chest_series(1, lungs=False), tmp_path)
    pacs.send_series(chest_series(2, BodyPartExamined="ABDOMEN"), tmp_path)
    pacs.send_series(chest_series(3, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[:1], tmp_path)
    gap = chest_series(4)
    pacs.send_series(gap[:7] + gap[9:], tmp_path)
    pacs.send_series(chest_series(5, Modality="MR"), tmp_path)
    pacs.send_series(chest_series(6), tmp_path)
    service = serve(pacs, "state").start()
    wait_for(lambda: service.has(done=1, refused=4), PATIENCE_S)
    seen = service.health()
    wait_for(lambda: (service.health() or seen)["up_s"] > seen["up_s"] + 3, PATIENCE_S)  # more looks into the PACS
    reasons = {
        "no lungs in the scan; a chest CT must show them": 1,
        "by its header it shows another part of the body": 1,
        "no CT series found": 1,
        "slices are missing": 1,
    }
    assert service.health()["reasons"] == reasons
    assert service.end() == 0
    for reason in reasons:
        assert service.told().count(f"is refused: {reason}") == 1
    assert "Traceback" not in service.told()
    assert (pacs.count("SR"), pacs.count("SEG")) == (1, 1)
    _leaves_no_image(tmp_path / "state")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the most memory a process took is asked of Linux")
def test_a_series_too_large_is_refused_once_until_more_memory_is_allowed(pacs, serve, tmp_path):
    """The small series has 60 thousand voxels, the large one 2 million."""
    pacs.send_series(chest_series(1), tmp_path)
    pacs.send_series(_enlarged(chest_series(2), 6), tmp_path)
    told = _serves_within(serve(pacs, "state", "--memory", "1MB"), refused=2)
    small, large = (float(needs) for needs in sorted(re.findall(r"needs +([\d.]+) GB", told)))
    for _ in range(2):
        told = _serves_within(serve(pacs, "state", "--memory", f"{small + 0.01:.2f}GB"), done=1, refused=1)
    # both with 1 MB, the large one with little, and nothing when that is served again
    assert told.count("is refused: the scan needs more memory than allowed") == 3
    told = _serves_within(serve(pacs, "state", "--memory", f"{large + 0.01:.2f}GB"), done=2)
    assert told.count("is answered") == 2


def _enlarged(slices, factor):
    for dataset in slices:
        pixels = dataset.pixel_array.repeat(factor, axis=0).repeat(factor, axis=1)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = pixels.tobytes()
        dataset.PixelSpacing = [float(spacing) / factor for spacing in dataset.PixelSpacing]
    return slices


def _serves_within(service, **counts):
    """Serves until these are the counts; returns the log after checking that no more memory was taken than allowed."""
    bound = parse_bytes(service.flags[service.flags.index("--memory") + 1])
    service.start()
    wait_for(lambda: service.has(**counts), PATIENCE_S)
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    peak = 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])
    assert service.end() == 0
    assert peak <= bound or "done" not in counts
    return service.told()


def test_a_study_of_mr_and_pet_is_refused_by_name(pacs, serve, tmp_path):
    slices = chest_series(1, Modality="MR")
    study, _ = pacs.send_series(slices, tmp_path)
    pacs.send_series(chest_series(2, Modality="PT", StudyInstanceUID=study), tmp_path)
    service = serve(pacs, "state", "--study", study).start()
    wait_for(lambda: service.has(refused=2), PATIENCE_S)
    assert service.health()["reasons"] == {"modality MR, not CT": 1, "modality PT, not CT": 1}
    service.end()
    assert service.told().count("a named study has no CT series") == 1


def test_what_a_named_peer_sends_to_the_worker_is_answered_in_the_pacs(pacs, serve, tmp_path):
    port = free_port()
    service = serve(pacs, "state", "--dicom-port", port, "--peer", "SCANNER@127.0.0.1").start()
    slices = chest_series(1)
    folder = save(slices, tmp_path / "sent")
    wait_for(lambda: service.has(done=0), PATIENCE_S)  # the page answers when the DICOM port is open
    assert storescu(port, folder, caller="STRANGER").returncode != 0
    assert storescu(port, folder).returncode == 0
    wait_for(lambda: service.has(done=1), PATIENCE_S)
    assert service.end() == 0
    for kind in ("SR", "SEG"):
        assert [study for study, _ in pacs.instances(kind)] == [str(slices[0].StudyInstanceUID)]
    assert service.told().count("refused: 'STRANGER' at 127.0.0.1 is no --peer") == 1
    _leaves_no_image(tmp_path / "state")


def test_a_wrong_password_ends_the_worker(pacs, serve):
    service = serve(pacs, "state").start(password="wrong")
    assert service.process.wait(PATIENCE_S) == 2
    assert service.told().count("the PACS refuses user and password") == 1
    assert "Traceback" not in service.told()


def test_a_pacs_behind_tls(pacs, serve, tmp_path):
    certificate = make_certificate(tmp_path / "own")
    pacs.send_series(chest_series(1), tmp_path)
    front = TlsFront(pacs.base, certificate)
    try:
        service = serve(front, "state", "--once", "--authority", certificate).start()
        assert service.process.wait(PATIENCE_S) == 0, service.told()
    finally:
        front.stop()
    assert (pacs.count("SR"), pacs.count("SEG")) == (1, 1)
