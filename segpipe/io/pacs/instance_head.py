"""Which instance a file is, read from its beginning alone, so that nothing further on costs memory."""

from io import BytesIO
from typing import Any, BinaryIO

from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from segpipe.io.pacs.address import UID
from segpipe.io.pacs.limits import HEAD_BYTES
from segpipe.io.quiet import quiet_libraries

_STUDY, _SERIES, _INSTANCE = BaseTag(0x0020000D), BaseTag(0x0020000E), BaseTag(0x00080018)


def read_uids(stream: BinaryIO) -> tuple[str, str, str]:
    """The UIDs of study, series and instance.

    Args:
        stream: A DICOM file in a transfer syntax that is not deflated.

    Raises:
        ValueError: for what is no DICOM or has no such UIDs within its first bytes.
    """
    try:
        tags: list[BaseTag | int] = [_STUDY, _SERIES, _INSTANCE]
        with quiet_libraries():
            head = read_partial(BytesIO(stream.read(HEAD_BYTES)), _is_past, specific_tags=tags)
            study, series, instance = (str(head[tag].value) for tag in tags)
    except Exception:  # a stranger's file can fail in any way
        raise ValueError("not DICOM") from None
    if not all(map(UID.fullmatch, (study, series, instance))):
        raise ValueError("no UIDs")
    return study, series, instance


def _is_past(tag: BaseTag, vr: Any, length: int) -> bool:
    return bool(tag > _SERIES)
