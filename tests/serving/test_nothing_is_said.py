"""Nothing of a patient reaches any stream or log, whatever a file holds, on every path and in threads that overlap."""

import logging
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import pydicom
import pytest

from segpipe.cli import ingest, predict
from segpipe.cli.serve.command import _answers
from segpipe.cli.serve.flags import parse_flags
from segpipe.errors import SegpipeError, explain
from segpipe.io.pacs.receiving.receiver import Inbox, Peer, Receiver
from tests.samples.odd_headers import RUINOUS, SECRETS, save_odd
from tests.samples.synthetic_chest import chest_series
from tests.support.workers import free_port

pytestmark = pytest.mark.slow
FORMATS = ["nifti", "csv", "json", "html", "dicom-seg", "dicom-labelmap", "dicom-mask", "dicom-sr", "rtstruct"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Folders of odd files: two series that are read, and slices with one value each that may ruin a file."""
    home = tmp_path_factory.mktemp("odd")
    slices = chest_series()
    for explicit in (True, False):
        for number, keyword in enumerate(RUINOUS):
            save_odd(
                slices[number : number + 1], home / "ruined" / f"{keyword}{explicit}", explicit=explicit, ruin=[keyword]
            )
    return {
        "explicit": save_odd(chest_series(0), home / "explicit", explicit=True),
        "implicit": save_odd(chest_series(1), home / "implicit"),
        "ruined": home / "ruined",
    }


@pytest.fixture
def heard(capfd):
    """Listens to all that any library says to any logger, stream or file descriptor; gives a function that ends it."""
    root = logging.getLogger()
    handler, level, mode = (
        logging.StreamHandler(sys.stderr),
        root.level,
        pydicom.config.settings.reading_validation_mode,
    )
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield lambda: "".join(capfd.readouterr())
    root.removeHandler(handler)
    root.setLevel(level)
    assert pydicom.config.settings.reading_validation_mode == mode


def _run(verb, *words):
    """An exit code; what the command line would print of an error is printed."""
    try:
        return verb.run([str(word) for word in words])
    except SegpipeError as error:
        print(explain(error), file=sys.stderr)
        return error.exit_code


def _predict(model, source, output):
    return _run(predict, "--model", model, "--input", source, "--output", output, "--output-format", *FORMATS)


def _ingest(source, output):
    words = ("--source", "dicom", "--input", source, "--output", output, "--roi", ".*", "--workers", 1)
    return _run(ingest, *words)


def _answer(answerer, source, output):
    try:
        answerer.answer(source, output, instances="0")
    except SegpipeError as error:
        print(explain(error), file=sys.stderr)
        return error.exit_code
    return 0


def _receive(folder, source):
    """Sends all files to a receiver; returns how many were taken."""
    from pynetdicom import AE

    taken = []
    inbox = Inbox(lambda arrival: folder, lambda arrival, name: not taken.append(name), lambda arrivals: None)
    receiver = Receiver("SEGPIPE", free_port(), peers=[Peer.parse("SCANNER@127.0.0.1")], inbox=inbox)
    receiver.start()
    entity, association = AE("SCANNER"), None
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.2", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
    try:
        for file in sorted(path for path in source.rglob("*") if path.is_file()):
            if association is None or not association.is_established:
                association = entity.associate("127.0.0.1", receiver.port, ae_title="SEGPIPE")
            _send(association, file)
        association.release()
    finally:
        receiver.stop()
    return len(taken)


def _send(association, file):
    from segpipe.io.quiet import quiet_libraries

    with quiet_libraries():  # the sender is no part of what is tested
        try:
            association.send_c_store(pydicom.dcmread(file))
        except (ValueError, AttributeError, RuntimeError):  # pynetdicom cannot encode it
            association.abort()


def test_nothing_of_a_patient_is_said_on_any_path(chest_model, sources, tmp_path, heard):
    words = ["--model", chest_model, "--dicomweb", "http://127.0.0.1:1", "--state", tmp_path / "state"]
    answerer = _answers(parse_flags([str(word) for word in words]))
    everything = sources["ruined"].parent
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(_receive, tmp_path / "received", everything),
            pool.submit(_ingest, everything, tmp_path / "set"),
        ]
        for number, name in enumerate(("explicit", "ruined")):
            jobs.append(pool.submit(_predict, chest_model, sources[name], tmp_path / f"predicted {number}"))
        for number, name in enumerate(("implicit", "ruined")):
            jobs.append(pool.submit(_answer, answerer, sources[name], tmp_path / f"answered {number}"))
        outcome = [job.result() for job in jobs]
    said = heard()
    assert [secret for secret in SECRETS if secret in said] == []
    assert (outcome[2], outcome[4]) == (0, 0)
    assert outcome[0] >= 40
