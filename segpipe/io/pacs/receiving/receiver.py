"""Receives CT series by C-STORE from the peers that were named, and from nobody else."""

import io
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.uid import UID

from segpipe.errors import ConfigError, OutputError
from segpipe.io.dicom.series.pixels import has_decoder
from segpipe.io.dicom.series.planes import CT_IMAGE, ENHANCED_CT
from segpipe.io.pacs.instance_head import read_uids
from segpipe.io.pacs.limits import ASSOCIATION_BYTES, ASSOCIATION_INSTANCES, SERIES_BYTES, SERIES_INSTANCES
from segpipe.io.pacs.names import instance_name
from segpipe.io.pacs.receiving.peers import Peer, listening_address, plain_address
from segpipe.io.quiet import quiet_foreign_threads
from segpipe.system.files.atomic_write import atomic_write

_LOG = logging.getLogger("segpipe.serve")
_MOST_STRANGERS, _PATIENCE_S = 100, 5.0
_SUCCESS, _NO_ROOM, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
_REJECTED, _BY_USER, _UNKNOWN_CALLER = 0x01, 0x01, 0x03


@dataclass(frozen=True)
class Arrival:
    """A series of which an instance has arrived; its UIDs never appear in a repr."""

    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)


@dataclass(frozen=True)
class Inbox:
    """What the receiver does with instances.

    Args:
        folder_of: Where the instances of a series go.
        arrived: Called with each instance that is safely on disk, and its name (see `instance_name`); false when there
            is no room for the series.
        finished: Called with the series of an association once it has ended in order.
    """

    folder_of: Callable[[Arrival], Path]
    arrived: Callable[[Arrival, str], bool]
    finished: Callable[[Sequence[Arrival]], None]


class Receiver:
    """A C-STORE provider for CT images, in threads of its own.

    Args:
        title: Its AE title, by which peers must call it.
        port: Where it listens.
        peers: Who may send.
        inbox: What happens to instances.
        host: The address to listen on; by default see `listening_address`.
    """

    def __init__(self, title: str, port: int, *, peers: Sequence[Peer], inbox: Inbox, host: str | None = None) -> None:
        self.title, self.port = title, port
        self._host = host or listening_address(peers)
        self._peers = frozenset(peers)
        self._inbox = inbox
        self._entity: Any = None
        self._server: Any = None
        self._quiet = ExitStack()
        self._strangers: set[tuple[str, str]] = set()
        self._has_reported_limit = False
        self._arrivals: dict[int, _Association] = {}

    def start(self) -> None:
        """Begins to listen.

        Raises:
            ConfigError: when the port is taken or the address is not one of this machine.
        """
        from pynetdicom import evt

        from segpipe.io.pacs.receiving.gate import GatedEntity

        self._entity = GatedEntity(self.title, {peer.address for peer in self._peers})
        for kind in (CT_IMAGE, *ENHANCED_CT):
            self._entity.add_supported_context(kind, _readable_syntaxes())
        self._entity.add_supported_context("1.2.840.10008.1.1")
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._finish),
            (evt.EVT_CONN_CLOSE, self._forget),
        ]
        self._quiet.enter_context(quiet_foreign_threads())  # pynetdicom's own say what they receive
        try:
            self._server = self._entity.start_server((self._host, self.port), block=False, evt_handlers=handlers)
        except OSError as error:
            self._quiet.close()
            raise ConfigError(
                "the DICOM port cannot be opened",
                facts={"host": self._host, "port": self.port, "found": error.strerror},
                hint="choose another --dicom-port or --dicom-host",
            ) from error

    def stop(self) -> None:
        """Stops listening and ends every association."""
        if self._server is not None:
            self._server.shutdown()
            self._entity.cut_off()
            for association in self._entity.active_associations:
                association.join(_PATIENCE_S)  # it may still speak of what it has received
        self._quiet.close()

    def _admit(self, event: Any) -> None:
        requestor = event.assoc.requestor
        caller = str(requestor.primitive.calling_ae_title).strip(), plain_address(str(requestor.address))
        if Peer(*caller) in self._peers:
            return
        if caller not in self._strangers and len(self._strangers) < _MOST_STRANGERS:
            self._strangers.add(caller)
            _LOG.warning("refused: %r at %s is no --peer", *caller)
        event.assoc.acse.send_reject(_REJECTED, _BY_USER, _UNKNOWN_CALLER)
        event.assoc.kill()  # waits until the refusal is sent, else the caller sees a broken connection

    def _store(self, event: Any) -> int:
        encoded = event.encoded_dataset(include_meta=True)
        received = self._arrivals.setdefault(id(event.assoc), _Association())
        received.instances += 1
        received.size += len(encoded)
        status = self._keep(encoded, received)
        self._entity.has_handled(event.assoc)
        return status

    def _keep(self, encoded: bytes, received: "_Association") -> int:
        try:
            study, series, instance = read_uids(io.BytesIO(encoded))
        except ValueError:
            return _NOT_UNDERSTOOD
        arrival, name = Arrival(study, series), instance_name(instance)
        try:
            file = self._inbox.folder_of(arrival) / f"{name}.dcm"
            if received.is_too_large or not _has_room(file, len(encoded)):
                self._report_limit()
                return _NO_ROOM
            _write(file, encoded)
            if not self._inbox.arrived(arrival, name):
                _remove(file)
                return _NO_ROOM
        except (OSError, OutputError):
            return _NO_ROOM
        received.series[arrival] = None
        return _SUCCESS

    def _report_limit(self) -> None:
        if not self._has_reported_limit:
            _LOG.warning("refused: a peer sends more than a series or an association may have")
        self._has_reported_limit = True

    def _finish(self, event: Any) -> None:
        self._inbox.finished(list(self._arrivals.pop(id(event.assoc), _Association()).series))

    def _forget(self, event: Any) -> None:
        self._arrivals.pop(id(event.assoc), None)
        if not event.assoc.is_established:
            event.assoc.dul.to_user_queue.put(None)  # else its thread waits on for a request that cannot come


@dataclass
class _Association:
    """What has come by one association."""

    instances: int = 0
    size: int = 0
    series: dict[Arrival, None] = field(default_factory=dict)

    @property
    def is_too_large(self) -> bool:
        return self.instances > ASSOCIATION_INSTANCES or self.size > ASSOCIATION_BYTES


def _readable_syntaxes() -> list[UID]:
    """The transfer syntaxes that can be decoded; what is deflated may expand to anything."""
    from pynetdicom import ALL_TRANSFER_SYNTAXES

    syntaxes = map(UID, ALL_TRANSFER_SYNTAXES)
    return [syntax for syntax in syntaxes if not syntax.is_deflated and has_decoder(syntax)]


def _has_room(file: Path, size: int) -> bool:
    """True unless the series would have more instances or bytes than one may."""
    try:
        others = [other.stat().st_size for other in file.parent.glob("*.dcm") if other != file]
    except FileNotFoundError:  # the series has just been answered
        return True
    return len(others) < SERIES_INSTANCES and sum(others) + size <= SERIES_BYTES


def _write(file: Path, content: bytes) -> None:
    """Safe on disk before the peer is answered."""
    try:
        with atomic_write(file, durable=True) as part:
            part.write_bytes(content)
    except OSError:
        with suppress(OSError):  # other files of the series may be there
            file.parent.rmdir()
        raise


def _remove(file: Path) -> None:
    """Removes a file, and its folder if nothing else is in it."""
    file.unlink(missing_ok=True)
    with suppress(OSError):
        file.parent.rmdir()
