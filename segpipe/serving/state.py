"""The worker's folder on disk, for its eyes only and for one worker at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from segpipe.errors import OutputError
from segpipe.system.atomic_write import atomic_write


@contextmanager
def open_state(folder: Path) -> Iterator[Path]:
    """Makes the folder and holds it until the block ends; the lock of a killed worker is free at once.

    Raises:
        OutputError: when the folder cannot be made, or another worker holds it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except OSError as error:
        if isinstance(error, Timeout):
            hint = "give each worker a --state of its own"
            raise OutputError("another worker uses this folder", facts={"--state": folder}, hint=hint) from None
        facts = {"--state": folder, "found": error.strerror}
        raise OutputError("the state folder cannot be made", facts=facts) from error
    try:
        yield folder
    finally:
        lock.release()


def may_take_more(state: Path, limit: int) -> bool:
    """True when a worker may take more bytes of memory than the last one in this folder; remembers how many.

    Raises:
        OutputError: when that cannot be written.
    """
    file = state / "memory"
    try:
        before = int(file.read_text()) if file.exists() else limit
        with atomic_write(file) as part:
            part.write_text(str(limit))
    except OSError as error:
        raise OutputError("the state folder cannot be used", facts={"file": file, "found": error.strerror}) from error
    return limit > before
