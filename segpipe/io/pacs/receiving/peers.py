"""Who may send by C-STORE, and on which of the machine's addresses they are awaited."""

import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from segpipe.errors import ConfigError


@dataclass(frozen=True)
class Peer:
    """Who may send: an AE title at an address."""

    title: str
    address: str

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Reads a peer.

        >>> Peer.parse("SCANNER1@10.0.0.7")
        Peer(title='SCANNER1', address='10.0.0.7')

        Raises:
            ConfigError: for anything that is no such peer.
        """
        title, _, address = text.partition("@")
        with suppress(ValueError):
            if 0 < len(title.strip()) <= 16:
                return cls(title.strip(), plain_address(address))
        raise ConfigError(
            "a peer must be an AE title and an address",
            facts={"found": text},
            hint="e.g. --peer SCANNER1@10.0.0.7; a name is no address",
        )


def listening_address(peers: Sequence[Peer]) -> str:
    """Where all peers, and as few others as can be, reach the port.

    >>> listening_address([Peer("A", "127.0.0.1")]), listening_address([Peer("A", "10.0.0.7")])
    ('127.0.0.1', '0.0.0.0')
    """
    addresses = [ipaddress.ip_address(peer.address) for peer in peers]
    if len(set(addresses)) == 1 and addresses[0].is_loopback:
        return peers[0].address
    return "::" if any(address.version == 6 for address in addresses) else "0.0.0.0"


def plain_address(text: str) -> str:
    """An IP address in its usual form; IPv4 in the disguise of IPv6 is IPv4.

    >>> plain_address("::ffff:10.0.0.7"), plain_address("0:0::1")
    ('10.0.0.7', '::1')

    Raises:
        ValueError: for anything else, e.g. a name.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
