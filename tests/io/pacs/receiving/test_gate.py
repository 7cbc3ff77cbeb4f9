"""The C-STORE port next to peers that are strangers, silent, slow, greedy or mad, each over a real socket."""

import random
import socket
import struct
import threading
import tracemalloc
from contextlib import suppress

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import evt

from segpipe.errors import ConfigError
from segpipe.io.pacs.receiving import gate
from tests.peers.orthanc import wait_for
from tests.samples.synthetic_dicom import ct_slices, thorax

PATIENCE_S = 60


@pytest.fixture
def connect():
    """Connects from an address; all connections are closed at the end."""
    connections = []

    def start(port, source="127.0.0.1"):
        connections.append(socket.create_connection(("127.0.0.1", port), PATIENCE_S, source_address=(source, 0)))
        return connections[-1]

    yield start
    for connection in connections:
        connection.close()


def is_cut(connection):
    """True when the other side has ended a connection without an answer."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def pdu(kind, length, content=b""):
    return struct.pack(">BBI", kind, 0, length) + content


def flood(connection, most):
    """Bytes that were sent before the connection was cut."""
    sent, piece = 0, bytes(2**16)
    try:
        while sent < most:
            sent += connection.send(piece)
    except ConnectionError:
        pass
    return sent


def test_a_pdu_of_four_gigabytes_is_not_read(receive, send, connect):
    port, _ = receive("SCANNER@127.0.0.1")
    send(port, ct_slices(thorax())[:1])  # everything is imported
    for kind in (1, 4):
        connection = connect(port)
        tracemalloc.start()
        connection.sendall(pdu(kind, 2**32 - 1))
        sent = flood(connection, 2**30)
        grown = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sent < 2**26  # what the buffers of the two sockets hold
        assert grown < 2**21


def test_strangers_are_cut_before_they_say_anything(receive, send, connect, caplog):
    port, _ = receive("SCANNER@127.0.0.1")
    assert all(is_cut(connect(port, "127.0.0.2")) for _ in range(12))
    assert send(port, ct_slices(thorax())[:1]) == [0]
    assert caplog.text.count("refused: 127.0.0.2 is the address of no --peer") == 1


def test_twelve_idle_connections_keep_no_peer_out(receive, send, connect):
    port, _ = receive("SCANNER@127.0.0.1")
    idle = [connect(port) for _ in range(12)]
    assert send(port, ct_slices(thorax())[:1]) == [0]
    assert all(map(is_cut, idle[: 12 - gate.ASSOCIATIONS]))  # the oldest gave way


def test_associations_of_one_address_have_a_limit(receive, associate, monkeypatch):
    monkeypatch.setattr(gate, "ASSOCIATIONS", 2)
    port, _ = receive("SCANNER@127.0.0.1")
    held = [associate(port) for _ in range(3)]
    assert [association.is_established for association in held] == [True, True, False]
    held[0].release()
    wait_for(lambda: associate(port).is_established, PATIENCE_S)


def test_a_connection_that_asks_for_nothing_is_cut(receive, connect, monkeypatch):
    monkeypatch.setattr(gate, "REQUEST_S", 0.2)
    monkeypatch.setattr(gate, "PDU_S", 0.2)
    port, _ = receive("SCANNER@127.0.0.1")
    connections = [connect(port) for _ in range(4)]
    for connection, said in zip(connections, (b"", b"\x01", pdu(1, 100), pdu(1, 100, b"half of it")), strict=True):
        connection.sendall(said)
    assert all(map(is_cut, connections))


def test_an_association_that_is_idle_is_ended(receive, associate, monkeypatch):
    monkeypatch.setattr(gate, "IDLE_S", 0.2)
    port, _ = receive("SCANNER@127.0.0.1")
    association = associate(port)
    assert association.is_established
    wait_for(lambda: association.is_aborted, PATIENCE_S)


def test_threads_of_connections_that_have_ended_end(receive, connect):
    port, _ = receive("SCANNER@127.0.0.1")
    for _ in range(20):
        connect(port).close()
    wait_for(lambda: not _acceptors(), gate.REQUEST_S / 2)


def test_the_end_of_the_receiver_ends_its_associations(receive, associate):
    port, _ = receive("SCANNER@127.0.0.1")
    association = associate(port)
    receive.stop()
    assert not _acceptors()
    wait_for(lambda: association.is_aborted, PATIENCE_S)


def _acceptors():
    return [thread for thread in threading.enumerate() if thread.name.startswith("AcceptorThread")]


def test_an_instance_that_is_too_large_ends_the_association(receive, send, monkeypatch):
    monkeypatch.setattr(gate, "INSTANCE_BYTES", 6000)
    monkeypatch.setattr(gate, "SLACK_BYTES", 0)
    port, told = receive("SCANNER@127.0.0.1")
    assert send(port, ct_slices(thorax())) == [0] * 9
    assert send(port, ct_slices(thorax((64, 64, 3)))[:1]) == [None]
    assert len(told["arrived"]) == 9


def test_what_is_deflated_is_not_taken(receive, associate):
    port, _ = receive("SCANNER@127.0.0.1")
    assert not associate(port, syntaxes=[DeflatedExplicitVRLittleEndian]).is_established
    association = associate(port, syntaxes=[DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian])
    assert [context.transfer_syntax for context in association.accepted_contexts] == [[ExplicitVRLittleEndian]]


def test_a_peer_that_talks_nonsense(receive, send, connect, capfd):
    port, told = receive("SCANNER@127.0.0.1")
    chance = random.Random(13)
    for number in range(40):
        connection = connect(port)
        length = chance.randrange(200)
        kind = chance.randrange(10)
        claimed = length if number % 2 else chance.randrange(2**16)
        connection.sendall(pdu(kind, claimed, chance.randbytes(length)))
        if number % 3:
            connection.shutdown(socket.SHUT_WR)
    assert send(port, ct_slices(thorax())[:1]) == [0]
    assert len(told["arrived"]) == 1
    assert "".join(capfd.readouterr()) == ""


def test_a_conversation_that_is_garbled(receive, send, connect, associate, capfd):
    """Errors that end pynetdicom's threads quote what has been sent, e.g. an AE title or a UID."""
    port, _ = receive("SCANNER@127.0.0.1")
    spoken = []
    association = associate(port, handlers=[(evt.EVT_DATA_SENT, lambda event: spoken.append(event.data))])
    association.send_c_store(ct_slices(thorax())[0])
    association.release()
    chance = random.Random(13)
    for number in range(24):
        connection = connect(port)
        connection.settimeout(0.01)
        with suppress(OSError):
            for place, said in enumerate(spoken):
                connection.sendall(garbled(said, chance) if place == 1 + number % 3 else said)
                with suppress(TimeoutError):
                    connection.recv(2**12)
            connection.shutdown(socket.SHUT_WR)  # all that was said is read, and then its end
    wait_for(lambda: not _acceptors(), PATIENCE_S)
    assert send(port, ct_slices(thorax())[:1]) == [0]
    assert "".join(capfd.readouterr()) == ""


def garbled(said, chance):
    """A PDU of the same length, of which the content is changed in a few places."""
    content = bytearray(said)
    for _ in range(4):
        content[chance.randrange(6, len(content))] = chance.randrange(256)
    return content


def test_an_address_that_is_not_of_this_machine(receive):
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(ConfigError, match="the DICOM port cannot be opened") as caught:
            receive("SCANNER@127.0.0.1", host=host)
        assert host in str(caught.value)


def test_peers_by_ipv6(receive, send):
    if not socket.has_ipv6:
        pytest.skip("no IPv6")
    port, _ = receive("SCANNER@::1", "SCANNER@127.0.0.1")
    for host in ("::1", "127.0.0.1"):
        assert send(port, ct_slices(thorax())[:1], host=host) == [0]
