"""Writes the instances that a PACS gives to the disk as they are, while they arrive."""

from collections.abc import Iterable
from pathlib import Path

from segpipe.errors import OutputError, ServiceError
from segpipe.io.pacs.dicomweb.multipart import boundary_of, parts
from segpipe.io.pacs.dicomweb.web import Answer
from segpipe.io.pacs.errors import PacsFaultError
from segpipe.io.pacs.instance_head import DeflatedError, read_uids
from segpipe.io.pacs.limits import INSTANCE_BYTES, SERIES_BYTES, TooMuchError
from segpipe.io.pacs.names import instance_name

_PART = "part"


def write_instances(answer: Answer, folder: Path, *, series_uid: str, most: int) -> int:
    """Writes one file for each instance; returns how many there are.

    Args:
        answer: The PACS's, with the instances of a series.
        folder: Made when it is not there.
        series_uid: The series to which they must belong.
        most: Instances that there may be.

    Raises:
        TooMuchError: for more instances, or more bytes than a series may have.
        ValueError: for what is no DICOM.
        PacsFaultError: for an instance of another series.
        ServiceError: for an instance in a form that may expand to anything.
        OutputError: when the folder cannot be written.
    """
    names = set()
    for number, part in enumerate(_parts(answer)):
        if number == most:
            raise TooMuchError(f"{most} instances")
        names.add(_write(part, folder, series_uid))
    return len(names)


def _parts(answer: Answer) -> Iterable[Iterable[bytes]]:
    if answer.content_type.startswith("application/dicom"):  # some give a single instance without the wrapping
        return [answer.pieces(INSTANCE_BYTES)]
    return parts(answer.pieces(SERIES_BYTES), boundary_of(answer.content_type), most=INSTANCE_BYTES)


def _write(part: Iterable[bytes], folder: Path, series_uid: str) -> str:
    file = folder / _PART
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            for piece in part:
                stream.write(piece)
        name = instance_name(_instance_uid(file, series_uid))
        file.replace(folder / f"{name}.dcm")
    except OSError as error:
        facts = {"folder": folder, "found": error.strerror}
        raise OutputError("a fetched series cannot be written", facts=facts, hint="is the disk full?") from error
    return name


def _instance_uid(file: Path, series_uid: str) -> str:
    try:
        with file.open("rb") as stream:
            _, series, instance = read_uids(stream)
    except DeflatedError:
        raise ServiceError("the PACS gave a series in a deflated form, which is not read") from None
    if series != series_uid:  # which may be another patient's
        raise PacsFaultError("the PACS gave an instance of another series than was asked for")
    return instance
