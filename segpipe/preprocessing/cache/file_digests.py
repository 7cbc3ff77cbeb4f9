"""Names files by what they contain, and remembers it, so that a start of training reads no scan twice."""

import hashlib
from pathlib import Path
from uuid import uuid4

from segpipe.errors import DatasetError


def content_digest(file: Path, memory: Path) -> str:
    """SHA-256 of a file's content in hex, kept in the folder `memory` under the file's path, size and time.

    Raises:
        DatasetError: when the file cannot be read.
    """
    note = _note(file, memory)
    known = _read_note(note)
    if known is not None:
        return known
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error
    note.parent.mkdir(parents=True, exist_ok=True)
    part = note.with_suffix(f".{uuid4().hex}.part")
    part.write_text(digest)
    part.replace(note)
    return digest


def remembered_digest(file: Path, memory: Path) -> str | None:
    """What `content_digest` would return, if that is known without reading the file."""
    return _read_note(_note(file, memory))


def _note(file: Path, memory: Path) -> Path:
    """The note's name tells nothing of the file's, which may hold a patient's."""
    try:
        status = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from error
    facts = f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    return memory / hashlib.sha256(facts.encode()).hexdigest()[:32]


def _read_note(note: Path) -> str | None:
    try:
        return note.read_text() or None
    except OSError:
        return None


def _unreadable(file: Path, error: OSError) -> DatasetError:
    return DatasetError("a file of the data set cannot be read", facts={"file": file, "found": error})
