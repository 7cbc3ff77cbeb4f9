"""Which instance a file is, read from its beginning alone, so that nothing further on costs memory."""

from io import BytesIO
from typing import Any, BinaryIO

from pydicom.filereader import read_dataset, read_partial, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from segpipe.io.pacs.address import UID
from segpipe.io.pacs.limits import HEAD_BYTES
from segpipe.io.quiet import quiet_libraries

_SYNTAX = BaseTag(0x00020010)
_STUDY, _SERIES, _INSTANCE = BaseTag(0x0020000D), BaseTag(0x0020000E), BaseTag(0x00080018)


class DeflatedError(ValueError):
    """A file that must be expanded to be read, to whatever size."""


def read_uids(stream: BinaryIO) -> tuple[str, str, str]:
    """The UIDs of study, series and instance.

    Args:
        stream: A DICOM file.

    Raises:
        DeflatedError: for a file that is deflated.
        ValueError: for what is no DICOM or has no such UIDs within its first bytes.
    """
    begin = stream.read(HEAD_BYTES)
    try:
        with quiet_libraries():
            uids = None if _syntax(begin) == DeflatedExplicitVRLittleEndian else _uids(begin)
    except Exception:  # a stranger's file can fail in any way
        raise ValueError("not DICOM") from None
    if uids is None:
        raise DeflatedError
    if not all(map(UID.fullmatch, uids)):
        raise ValueError("no UIDs")
    return uids


def _syntax(begin: bytes) -> str:
    stream = BytesIO(begin)
    read_preamble(stream, force=False)
    meta = read_dataset(stream, False, True, stop_when=_is_past_meta, specific_tags=[_SYNTAX])
    return str(meta[_SYNTAX].value)


def _uids(begin: bytes) -> tuple[str, str, str]:
    head = read_partial(BytesIO(begin), _is_past_uids, specific_tags=[_STUDY, _SERIES, _INSTANCE])
    return str(head[_STUDY].value), str(head[_SERIES].value), str(head[_INSTANCE].value)


def _is_past_meta(tag: BaseTag, vr: Any, length: int) -> bool:
    return bool(tag.group > _SYNTAX.group)


def _is_past_uids(tag: BaseTag, vr: Any, length: int) -> bool:
    return bool(tag > _SERIES)
