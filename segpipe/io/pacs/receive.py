"""Receives CT series by C-STORE from the peers that were named, and from nobody else."""

import io
import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from segpipe.errors import ConfigError, OutputError
from segpipe.io.dicom.series.planes import CT_IMAGE, ENHANCED_CT
from segpipe.io.pacs.names import instance_name
from segpipe.io.quiet import quiet_foreign_threads, quiet_libraries
from segpipe.system.atomic_write import atomic_write

_LOG = logging.getLogger("segpipe.serve")
_MOST_STRANGERS = 100
_SUCCESS, _NO_ROOM, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000
_REJECTED, _BY_USER, _UNKNOWN_CALLER = 0x01, 0x01, 0x03


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
        if not 0 < len(title.strip()) <= 16 or not address:
            raise ConfigError("a peer must be an AE title and an address", facts={"found": text},
                              hint="e.g. --peer SCANNER1@10.0.0.7")  # fmt: skip
        return cls(title.strip(), address)


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
    """

    def __init__(self, title: str, port: int, *, peers: Sequence[Peer], inbox: Inbox) -> None:
        self.title, self.port = title, port
        self._peers = frozenset((peer.title, peer.address) for peer in peers)
        self._inbox = inbox
        self._server: Any = None
        self._quiet = ExitStack()
        self._strangers: set[tuple[str, str]] = set()
        self._arrivals: dict[int, dict[Arrival, None]] = {}

    def start(self) -> None:
        """Begins to listen.

        Raises:
            ConfigError: when the port is taken.
        """
        from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt

        entity = AE(self.title)
        entity.require_called_aet = True
        for kind in (CT_IMAGE, *ENHANCED_CT):
            entity.add_supported_context(kind, ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context("1.2.840.10008.1.1")
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._admit),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._finish),
            (evt.EVT_CONN_CLOSE, self._forget),
        ]
        self._quiet.enter_context(quiet_foreign_threads())  # pynetdicom's own say what they receive
        try:
            self._server = entity.start_server(("", self.port), block=False, evt_handlers=handlers)
        except OSError as error:
            self._quiet.close()
            raise ConfigError(
                "the DICOM port cannot be opened",
                facts={"port": self.port, "found": error.strerror},
                hint="choose another --dicom-port",
            ) from error

    def stop(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.shutdown()
        self._quiet.close()

    def _admit(self, event: Any) -> None:
        requestor = event.assoc.requestor
        caller = str(requestor.primitive.calling_ae_title).strip(), str(requestor.address)
        if caller in self._peers:
            return
        if caller not in self._strangers and len(self._strangers) < _MOST_STRANGERS:
            self._strangers.add(caller)
            _LOG.warning("refused: %r at %s is no --peer", *caller)
        event.assoc.acse.send_reject(_REJECTED, _BY_USER, _UNKNOWN_CALLER)
        event.assoc.kill()  # waits until the refusal is sent, else the caller sees a broken connection

    def _store(self, event: Any) -> int:
        encoded = event.encoded_dataset(include_meta=True)
        try:
            with quiet_libraries():
                header = pydicom.dcmread(io.BytesIO(encoded), stop_before_pixels=True)
            arrival = Arrival(str(header.StudyInstanceUID), str(header.SeriesInstanceUID))
            name = instance_name(str(header.SOPInstanceUID))
        except Exception:  # whatever a peer sends must not end the receiver
            return _NOT_UNDERSTOOD
        try:
            file = self._inbox.folder_of(arrival) / f"{name}.dcm"
            _write(file, encoded)
            if not self._inbox.arrived(arrival, name):
                _remove(file)
                return _NO_ROOM
        except (OSError, OutputError):
            return _NO_ROOM
        self._arrivals.setdefault(id(event.assoc), {})[arrival] = None
        return _SUCCESS

    def _finish(self, event: Any) -> None:
        self._inbox.finished(list(self._arrivals.pop(id(event.assoc), {})))

    def _forget(self, event: Any) -> None:
        self._arrivals.pop(id(event.assoc), None)


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
