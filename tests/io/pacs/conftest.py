"""A PACS of a few lines, the files of a series, and a receiver with a sender."""

from io import BytesIO
from socketserver import BaseServer

import pytest

from segpipe.io.dicom.series.planes import CT_IMAGE
from segpipe.io.pacs.receiving.peers import Peer
from segpipe.io.pacs.receiving.receiver import Inbox, Receiver
from tests.peers.fake_pacs import FakePacs
from tests.samples.synthetic_dicom import ct_slices, thorax
from tests.support.workers import free_port


@pytest.fixture(scope="package")
def started_pacs():
    """A PACS for all tests of this folder."""
    started = FakePacs().start()
    yield started
    started.stop()


@pytest.fixture
def pacs(started_pacs):
    """A PACS that has been asked for nothing."""
    return started_pacs.forget()


@pytest.fixture(scope="module")
def files():
    """The files of the series 3.4."""
    contents = []
    for dataset in ct_slices(thorax()):
        dataset.SeriesInstanceUID = "3.4"
        dataset.save_as(stream := BytesIO(), enforce_file_format=True)
        contents.append(stream.getvalue())
    return contents


@pytest.fixture
def receive(tmp_path, monkeypatch):
    """Starts a receiver for some peers; returns its port and what it has told."""
    monkeypatch.setattr(
        BaseServer.serve_forever, "__defaults__", (0.02,)
    )  # seconds until a server sees that it is to end
    started = []

    def start(*peers, room=True, host=None):
        told = {"arrived": [], "finished": []}
        inbox = Inbox(
            lambda arrival: tmp_path / "inbox",
            lambda arrival, name: told["arrived"].append((arrival, name)) or room,
            lambda arrivals: told["finished"].append(arrivals),
        )
        named = [Peer.parse(peer) for peer in peers]
        started.append(Receiver("SEGPIPE", free_port(), peers=named, inbox=inbox, host=host))
        started[-1].start()
        return started[-1].port, told

    def stop():
        while started:
            started.pop().stop()

    start.stop = stop
    yield start
    stop()


@pytest.fixture
def associate():
    """Asks for an association for CT images, which may be refused; at the end all are ended."""
    from pynetdicom import AE

    asked = []

    def ask(port, *, caller="SCANNER", called="SEGPIPE", host="127.0.0.1", syntaxes=None, handlers=None):
        entity = AE(caller)
        entity.add_requested_context(CT_IMAGE, syntaxes)
        asked.append(entity.associate(host, port, ae_title=called, evt_handlers=handlers))
        return asked[-1]

    yield ask
    for association in asked:
        if association.is_established:
            association.release()
        if (connection := association.dul.socket.socket) is not None:
            connection.close()  # pynetdicom leaves one open that the other side has cut


@pytest.fixture
def send(associate):
    """Sends data sets; the status of each C-STORE, or None when the association is refused."""

    def run(port, datasets, **words):
        association = associate(port, **words)
        if not association.is_established:
            return None
        statuses = [association.send_c_store(dataset).get("Status") for dataset in datasets]
        association.release()
        return statuses

    return run
