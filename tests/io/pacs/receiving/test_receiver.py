"""The receiver takes CT images of named peers from a sender that segpipe did not write, and of nobody else."""

import logging
import sys

import pydicom
import pytest

from segpipe.io.pacs.receiving import receiver as receiving
from segpipe.io.quiet import quiet_libraries
from tests.peers.dcmtk import storescu
from tests.peers.orthanc import wait_for
from tests.samples.synthetic_dicom import ct_slices, other_object, save, set_odd, thorax


def test_a_named_peer_is_received(receive, send, tmp_path):
    port, told = receive("SCANNER@127.0.0.1")
    slices = ct_slices(thorax())
    assert send(port, slices) == [0] * 9
    wait_for(lambda: told["finished"], 20)
    (finished,) = told["finished"]
    assert [arrival.series_uid for arrival in finished] == [slices[0].SeriesInstanceUID]
    assert slices[0].SeriesInstanceUID not in repr(finished)
    files = list((tmp_path / "inbox").iterdir())
    assert {name for _, name in told["arrived"]} == {file.stem for file in files}
    assert {pydicom.dcmread(file).SOPInstanceUID for file in files} == {item.SOPInstanceUID for item in slices}


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        ("OTHER@127.0.0.1", {}),
        ("SCANNER@10.1.2.3", {}),
        ("SCANNER@127.0.0.1", {"called": "SOMEBODY"}),
    ],
)
def test_strangers_are_refused(receive, send, tmp_path, peer, words):
    port, told = receive(peer)
    assert send(port, ct_slices(thorax())[:1], **words) is None
    assert told == {"arrived": [], "finished": []}
    assert not (tmp_path / "inbox").exists()


def test_a_full_queue_is_told_to_the_sender_and_leaves_no_file(receive, send, tmp_path):
    port, _ = receive("SCANNER@127.0.0.1", room=False)
    assert send(port, ct_slices(thorax())[:1]) == [0xA700]
    assert not (tmp_path / "inbox").exists()


def test_a_sender_that_is_not_ours(receive, tmp_path, caplog):
    port, told = receive("SCANNER@127.0.0.1")
    folder = save(ct_slices(thorax()), tmp_path / "sent")
    for words in ({"caller": "STRANGER"}, {"called": "OTHER"}):
        refused = storescu(port, folder, **words)
        assert refused.returncode != 0
        assert "Association Rejected" in refused.stdout + refused.stderr
    assert not (tmp_path / "inbox").exists()
    assert caplog.text.count("refused: 'STRANGER' at 127.0.0.1 is no --peer") == 1
    assert storescu(port, folder).returncode == 0
    wait_for(lambda: told["finished"], 20)
    assert len(list((tmp_path / "inbox").iterdir())) == 9


def test_images_that_are_no_ct_are_not_taken(receive, tmp_path):
    port, told = receive("SCANNER@127.0.0.1")
    save([other_object("1.2.840.10008.5.1.4.1.1.4", "MR")], tmp_path / "sent")
    assert storescu(port, tmp_path / "sent").returncode != 0
    assert told["arrived"] == []


@pytest.mark.parametrize(
    ("limits", "statuses"),
    [
        ({"SERIES_INSTANCES": 5}, [0] * 5 + [0xA700] * 4),
        ({"ASSOCIATION_INSTANCES": 5}, [0] * 5 + [0xA700] * 4),
        ({"SERIES_BYTES": 5000}, [0] + [0xA700] * 8),
        ({"ASSOCIATION_BYTES": 5000}, [0] + [0xA700] * 8),
    ],
    ids=str,
)
def test_a_peer_that_sends_too_much(receive, send, tmp_path, monkeypatch, caplog, limits, statuses):
    for name, value in limits.items():
        monkeypatch.setattr(receiving, name, value)
    port, _ = receive("SCANNER@127.0.0.1")
    slices = ct_slices(thorax())
    assert send(port, slices) == statuses
    assert send(port, slices[:1]) == [0]  # what is there may be sent again
    assert len(list((tmp_path / "inbox").iterdir())) == statuses.count(0)
    assert caplog.text.count("a peer sends more than a series or an association may have") == 1


def test_what_is_no_uid_is_not_understood(receive, send, tmp_path):
    port, told = receive("SCANNER@127.0.0.1")
    odd = [
        (keyword, uid) for keyword in ("StudyInstanceUID", "SeriesInstanceUID") for uid in ("..", "1/../3", "1..2", "")
    ]
    with quiet_libraries():
        slices = [set_odd(ct_slices(thorax())[:1], **{keyword: uid})[0] for keyword, uid in odd]
        assert send(port, slices) == [0xC000] * 8
    assert told["arrived"] == []
    assert not (tmp_path / "inbox").exists()


def test_odd_values_are_received_and_said_on_no_stream(receive, tmp_path, capfd):
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    port, told = receive("SCANNER@127.0.0.1")
    slices = set_odd(ct_slices(thorax())[:2], SeriesInstanceUID="1.2.3.05.7", PatientBirthDate="19.05.1950")
    for number, dataset in enumerate(slices):
        set_odd([dataset], SOPInstanceUID=f"1.2.3.04.{number}")
    with quiet_libraries():
        folder = save(slices, tmp_path / "sent")

    assert storescu(port, folder).returncode == 0

    wait_for(lambda: told["finished"], 20)
    logging.getLogger().removeHandler(handler)
    said = "".join(capfd.readouterr())
    assert [secret for secret in ("1.2.3.04", "1.2.3.05", "19.05.1950", "Secret") if secret in said] == []
    assert len(list((tmp_path / "inbox").iterdir())) == 2
