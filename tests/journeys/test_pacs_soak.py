"""A worker on bad days, at random from a seed: killed, out of disk, next to a PACS that fails, sent series in parts.

`SEGPIPE_SOAK_SERIES=200 SEGPIPE_SOAK_SEED=7 pytest -s tests/journeys/test_pacs_soak.py` is a longer one.
"""

import contextlib
import os
import random
import re
import resource
import signal
import socket
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import requests
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from segpipe.inference.batch.memory import parse_bytes
from tests.peers.faulty_pacs import FAULTS, FaultyPacs, SeededPlan
from tests.peers.orthanc import PASSWORD, PATIENCE_S, Orthanc, Service, wait_for
from tests.samples.synthetic_chest import chest_series
from tests.samples.synthetic_dicom import CT_IMAGE, PATIENT
from tests.support.workers import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="a full disk is made by Linux's prlimit"),
]
SERIES = int(os.environ.get("SEGPIPE_SOAK_SERIES", "5"))
SEED = int(os.environ.get("SEGPIPE_SOAK_SEED", "7"))
MEMORY = "2GB"
ROADS = ("pacs", "scanner", "both")
PASSING = [fault for fault in FAULTS if fault not in ("403", "slow")]  # a forbidden series is refused for good


class Sent:
    """A series that comes by one road or both, most of it first and the rest later."""

    def __init__(self, number, chance):
        self.slices = chest_series(number)
        self.road = ROADS[number % len(ROADS)]
        self.study, self.series = str(self.slices[0].StudyInstanceUID), str(self.slices[0].SeriesInstanceUID)
        late = chance.choice([0, 0, 1, 5, 17])
        at = chance.choice([len(self.slices) - late, chance.randrange(len(self.slices) - late + 1)])
        self.batches = [self.slices[:at] + self.slices[at + late :], self.slices[at : at + late]]

    @property
    def instances(self):
        return {str(dataset.SOPInstanceUID) for dataset in self.slices}


class Soak:
    """Everything that happens to a worker."""

    def __init__(self, model, folder):
        self.chance, self.folder = random.Random(SEED), folder
        self.orthanc = Orthanc(folder / "orthanc").start()
        self.front = FaultyPacs(self.orthanc.base, SeededPlan(SEED, share=0.08, faults=PASSING))
        self.port = free_port()
        flags = ("--dicom-port", self.port, "--peer", "SCANNER@127.0.0.1", "--memory", MEMORY)
        self.service = Service(model, self.front.dicomweb, folder / "state", *flags).start()
        self.sent = [Sent(number, self.chance) for number in range(SERIES)]
        self.peaks, self.happened = [], Counter()

    def plan(self):
        """What happens, in the order in which it does."""
        chance, events = self.chance, []
        for one in self.sent:
            begin = chance.random()
            later = begin + 0.2 * chance.random()
            events += [(begin, self.send, one, one.batches[0]), (later, self.send, one, one.batches[1])]
        for event, every in {self.kill: 12, self.restart_pacs: 40, self.fill_disk: 40, self.attack: 8}.items():
            events += [(chance.random(), event) for _ in range(1 + SERIES // every)]
        return [event[1:] for event in sorted(events, key=lambda event: event[0])]

    def send(self, one, slices):
        """Sends a part of a series on its road."""
        if one.road != "scanner":
            for number, dataset in enumerate(slices):
                dataset.save_as(self.folder / f"{number}.dcm", enforce_file_format=True)
                self.orthanc.send(self.folder / f"{number}.dcm")
        if one.road != "pacs":
            self.scan(slices)

    def scan(self, slices):
        """Sends by C-STORE until each one is acknowledged, as a scanner does."""
        waiting = list(slices)
        end = time.monotonic() + PATIENCE_S
        while waiting:
            assert time.monotonic() < end
            waiting = waiting[self.acknowledged(waiting) :]
            if waiting:
                self.happened["sent again"] += 1
                time.sleep(0.5)

    def acknowledged(self, slices):
        """How many of the first of these are acknowledged in one association."""
        from pynetdicom import AE

        with socket.socket() as probe:  # pynetdicom leaves one open when nobody listens
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return 0
        entity = AE("SCANNER")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 30
        entity.add_requested_context(CT_IMAGE, ExplicitVRLittleEndian)
        association = entity.associate("127.0.0.1", self.port, ae_title="SEGPIPE")
        count = 0
        with contextlib.suppress(RuntimeError):  # cut off
            while count < len(slices) and association.is_established:
                if association.send_c_store(slices[count]).get("Status") != 0:
                    break
                count += 1
        if association.is_established:
            association.release()
        return count

    def kill(self):
        self.note_memory()
        self.service.end(signal.SIGKILL)
        self.service.start()

    def restart_pacs(self):
        self.orthanc.stop()
        time.sleep(self.chance.random())
        self.orthanc.start()

    def fill_disk(self):
        """For a few seconds nothing large can be written, the queue included."""
        with contextlib.suppress(ProcessLookupError):
            pid = self.service.process.pid
            _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (3000, most))
            time.sleep(2)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
        if self.service.process.returncode is not None:  # it could not even open its queue
            assert self.service.process.returncode == 2
            self.service.start()

    def attack(self):
        """Garbage, a PDU that claims four gigabytes, a stranger, and a silent caller at the port."""
        claims = b"\x01\x00\xff\xff\xff\xff" + b"\x00" * 5000
        for content in (b"GET / HTTP/1.1\r\n\r\n", claims, self.chance.randbytes(2000), b""):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as caller:
                caller.sendall(content)
        from pynetdicom import AE

        entity = AE("STRANGER")
        entity.add_requested_context(CT_IMAGE, ExplicitVRLittleEndian)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                assert not entity.associate("127.0.0.1", self.port, ae_title="SEGPIPE").is_established

    def live(self):
        """Lets everything happen."""
        for event, *given in self.plan():
            event(*given)
            self.happened[event.__name__] += 1
            time.sleep(0.3 * self.chance.random())

    def settle(self):
        """The weather clears up: a last start, and the scanner sends again whole what was refused."""
        self.front.plan = lambda verb, path: None
        self.kill()
        wait_for(self.is_quiet, PATIENCE_S)
        answers = self.answers()
        for one in self.sent:
            if one.road == "scanner" and one.instances not in answers[one.study]:
                self.happened["sent whole again"] += 1
                self.scan(one.slices)
        wait_for(lambda: self.service.has(done=SERIES), PATIENCE_S)
        self.note_memory()

    def is_quiet(self):
        seen = self.service.health()
        return seen is not None and seen["up_s"] > 3 and not any(
            seen["series"][state] for state in ("arriving", "queued", "working")
        )  # fmt: skip

    def note_memory(self):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{self.service.process.pid}/status").read_text()
            self.peaks += [1024 * int(kilobytes) for kilobytes in re.findall(r"VmHWM:\s+(\d+) kB", status)]

    def answers(self):
        """Study → the instances that each report in it speaks of."""
        found = defaultdict(list)
        for report in self.orthanc.datasets("SR"):
            found[report.StudyInstanceUID].append(_evidence(report) - _segmentations(report))
        return found

    def stop(self):
        if self.service.process is not None:
            self.service.end(signal.SIGKILL)
        self.front.stop()
        self.orthanc.stop()


def _evidence(report):
    """The instances that a report is based on."""
    studies = report.get("CurrentRequestedProcedureEvidenceSequence", [])
    series = [one for study in studies for one in study.ReferencedSeriesSequence]
    return {str(item.ReferencedSOPInstanceUID) for one in series for item in one.ReferencedSOPSequence}


def _segmentations(report):
    """The segmentations that a report refers to."""
    nested = [item for item in report.iterall() if item.keyword == "ReferencedSOPSequence"]
    found = [one for sequence in nested for one in sequence.value]
    return {str(one.ReferencedSOPInstanceUID) for one in found if one.ReferencedSOPClassUID == SegmentationStorage}


@pytest.fixture(scope="module")
def soak(chest_model, tmp_path_factory):
    """A soak that is over."""
    begun = time.monotonic()
    run = Soak(chest_model, tmp_path_factory.mktemp("soak"))
    try:
        run.live()
        run.settle()
        print(f"\nseed {SEED}: {SERIES} series in {time.monotonic() - begun:.0f} s; {dict(run.happened)};",
              f"faults {dict(run.front.spoilt)}; peaks {[f'{peak / 2**20:.0f} MB' for peak in run.peaks]}")  # fmt: skip
        yield run
    except BaseException:
        print(f"\nseed {SEED}: {dict(run.happened)}; {run.service.health()}\n{run.service.told()[-4000:]}")
        raise
    finally:
        run.stop()


def test_every_series_is_answered_whole_and_each_state_of_it_once(soak):
    answers = soak.answers()
    assert len(soak.sent) == SERIES
    assert [one for one in soak.sent if max(answers[one.study], key=len) != one.instances] == []
    states = [frozenset(state) for several in answers.values() for state in several]
    assert len(set(states)) == len(states)


def test_each_report_that_is_not_the_first_names_the_one_before_it(soak):
    reports = {report.SOPInstanceUID: report for report in soak.orthanc.datasets("SR")}
    assert len(reports) >= SERIES
    named = [
        item.ReferencedSOPInstanceUID
        for report in reports.values()
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert len(named) == len(set(named)) == len(reports) - SERIES
    assert set(named) <= set(reports)


def test_each_report_refers_to_a_segmentation_that_is_there(soak):
    stored = {str(one.SOPInstanceUID) for one in soak.orthanc.datasets("SEG")}
    wanted = [_segmentations(report) for report in soak.orthanc.datasets("SR")]
    assert all(len(one) == 1 for one in wanted)
    assert set().union(*wanted) <= stored
    assert len(stored) - len(wanted) <= soak.happened["kill"]  # one of a state that grew before its report was stored


def test_no_image_is_left(soak):
    assert list((soak.folder / "state").rglob("*.dcm")) == []


def test_memory_is_bounded(soak):
    assert len(soak.peaks) > 1
    assert max(soak.peaks) <= parse_bytes(MEMORY)


def test_nothing_gets_out(soak):
    said = soak.service.told() + str(soak.service.health())
    page = requests.get(f"http://127.0.0.1:{soak.service.port}/", timeout=PATIENCE_S)
    uids = [uid for one in soak.sent for uid in (one.study, one.series, *one.instances)]
    secrets = [secret for secret in (PASSWORD, PATIENT, "SECRET-ID", *uids) if secret in said + page.text]
    assert secrets == []
    assert "Traceback" not in said
    assert soak.front.leaked == []
