"""Who may send is named by title and address, and awaited where he can come from."""

import pytest

from segpipe.errors import ConfigError
from segpipe.io.pacs.receiving.peers import Peer, listening_address, plain_address


@pytest.mark.parametrize(
    "text", ["SCANNER", "@10.0.0.1", "A-TITLE-THAT-IS-TOO-LONG@10.0.0.1", "A@scanner.example", "A@10.0.0", "A@"]
)
def test_peers_that_are_none(text):
    with pytest.raises(ConfigError, match="a peer must be an AE title and an address"):
        Peer.parse(text)


def test_addresses_have_one_form():
    assert Peer.parse(" A @2001:DB8::0:7").address == "2001:db8::7"
    assert plain_address("::ffff:127.0.0.1") == "127.0.0.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"


@pytest.mark.parametrize(
    ("addresses", "host"),
    [
        (["127.0.0.1", "127.0.0.1"], "127.0.0.1"),
        (["::1"], "::1"),
        (["127.0.0.1", "127.0.0.2"], "0.0.0.0"),
        (["127.0.0.1", "10.0.0.7"], "0.0.0.0"),
        (["10.0.0.7", "2001:db8::7"], "::"),
        (["127.0.0.1", "::1"], "::"),
    ],
)
def test_where_peers_are_awaited(addresses, host):
    assert listening_address([Peer("A", address) for address in addresses]) == host
