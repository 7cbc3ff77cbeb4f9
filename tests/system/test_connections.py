"""Of the connections that a server holds, those that may go give way, the oldest first."""

import socket

import pytest

from segpipe.system.connections import Connections


@pytest.fixture
def pairs():
    """Pairs of connected sockets: the server's and the other side."""
    made = [socket.socketpair() for _ in range(4)]
    for _, other in made:
        other.settimeout(0.05)
    yield made
    for pair in made:
        for side in pair:
            side.close()


def is_open(other):
    try:
        return other.recv(1) != b""
    except TimeoutError:
        return True


def test_the_oldest_gives_way(pairs):
    connections = Connections(2)
    assert [connections.admit(server) for server, _ in pairs] == [True] * 4
    assert [is_open(other) for _, other in pairs] == [False, False, True, True]


def test_what_may_not_go_stays(pairs):
    busy = [pairs[0][0], pairs[2][0]]
    connections = Connections(2, may_go=lambda connection: connection not in busy)
    assert [connections.admit(server) for server, _ in pairs] == [True, True, True, False]
    assert [is_open(other) for _, other in pairs] == [True, False, True, True]


def test_what_has_been_closed_leaves_room(pairs):
    connections = Connections(1, may_go=lambda connection: False)
    assert connections.admit(pairs[0][0])
    assert not connections.admit(pairs[1][0])
    pairs[0][0].close()
    assert connections.admit(pairs[1][0])


def test_old_ones_and_all_are_cut_off(pairs):
    connections = Connections(9)
    connections.admit(pairs[0][0])
    connections.cut_off(older_than_s=1000)
    assert is_open(pairs[0][1])
    connections.cut_off()
    assert not is_open(pairs[0][1])
