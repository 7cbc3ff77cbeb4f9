"""Names files by what they contain, and remembers it: no file is read twice for its name, by whatever process."""

import hashlib
from pathlib import Path

from filelock import FileLock

from segpipe.errors import DatasetError
from segpipe.system.files.atomic_write import atomic_write


def digest_memory(prepared: Path) -> Path:
    """Where the digests of files are kept, next to the cases that are prepared from them."""
    return prepared / "digests"


def content_digest(file: Path, memory: Path) -> str:
    """SHA-256 of a file's content in hex, kept in the folder `memory` under the file's path, size and times.

    A file that is written or replaced gets another time of change, even where its time of writing is set back. Of
    processes that ask at the same time, e.g. the ranks of a run, one reads the file and the others wait for it. Where
    the memory cannot be written, the file is read each time.

    Raises:
        DatasetError: when the file cannot be read.
    """
    note = _note(file, memory)
    known = _read_note(note)
    if known is not None:
        return known
    try:
        memory.mkdir(parents=True, exist_ok=True)
        with FileLock(memory / f"{note.name[:2]}.lock"):
            return _read_note(note) or _write_note(note, file_digest(file))
    except OSError:
        return file_digest(file)


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content in hex, read anew.

    Raises:
        DatasetError: when the file cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error


def remembered_digest(file: Path, memory: Path) -> str | None:
    """What `content_digest` would return, if that is known without reading the file."""
    return _read_note(_note(file, memory))


def _note(file: Path, memory: Path) -> Path:
    """The note's name says nothing of the file's, which may hold a patient's."""
    try:
        status = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from error
    facts = f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"
    return memory / hashlib.sha256(facts.encode()).hexdigest()[:32]


def _read_note(note: Path) -> str | None:
    try:
        return note.read_text() or None
    except OSError:
        return None


def _write_note(note: Path, digest: str) -> str:
    with atomic_write(note) as part:
        part.write_text(digest)
    return digest


def _unreadable(file: Path, error: OSError) -> DatasetError:
    return DatasetError("a file of the data set cannot be read", facts={"file": file, "found": error})
