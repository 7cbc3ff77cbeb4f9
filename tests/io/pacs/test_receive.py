"""The receiver takes CT images of named peers from a sender that segpipe did not write, and of nobody else."""

import logging
import sys

import pydicom
import pytest

from segpipe.errors import ConfigError
from segpipe.io.pacs.receive import CT_IMAGE, Inbox, Peer, Receiver
from segpipe.io.quiet import quiet_libraries
from tests.dcmtk import storescu
from tests.orthanc import wait_for
from tests.synthetic_dicom import ct_slices, other_object, save, set_odd, thorax
from tests.workers import free_port


@pytest.fixture
def receive(tmp_path):
    """Starts a receiver for some peers; returns its port and what it has told."""
    started = []

    def start(*peers, room=True):
        told = {"arrived": [], "finished": []}
        inbox = Inbox(
            lambda arrival: tmp_path / "inbox",
            lambda arrival, name: told["arrived"].append((arrival, name)) or room,
            lambda arrivals: told["finished"].append(arrivals),
        )
        started.append(Receiver("SEGPIPE", free_port(), peers=[Peer.parse(peer) for peer in peers], inbox=inbox))
        started[-1].start()
        return started[-1].port, told

    yield start
    for receiver in started:
        receiver.stop()


def send(port, datasets, *, caller="SCANNER", called="SEGPIPE"):
    """Status of each C-STORE; None when the association is refused."""
    from pynetdicom import AE

    entity = AE(caller)
    entity.add_requested_context(CT_IMAGE)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return None
    statuses = [association.send_c_store(dataset).Status for dataset in datasets]
    association.release()
    return statuses


def test_a_named_peer_is_received(receive, tmp_path):
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
def test_strangers_are_refused(receive, tmp_path, peer, words):
    port, told = receive(peer)
    assert send(port, ct_slices(thorax())[:1], **words) is None
    assert told == {"arrived": [], "finished": []}
    assert not (tmp_path / "inbox").exists()


def test_a_full_queue_is_told_to_the_sender_and_leaves_no_file(receive, tmp_path):
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


@pytest.mark.parametrize("text", ["SCANNER", "@10.0.0.1", "A-TITLE-THAT-IS-TOO-LONG@10.0.0.1"])
def test_peers_that_are_none(text):
    with pytest.raises(ConfigError, match="a peer must be an AE title and an address"):
        Peer.parse(text)


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
