"""The worker's folder on disk, for its owner's eyes only and for one worker at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from segpipe.errors import OutputError
from segpipe.system.files.atomic_write import atomic_write


@contextmanager
def open_state(folder: Path) -> Iterator[Path]:
    """Makes the folder and holds it until the block ends; the lock of a killed worker is free at once.

    Nobody but its owner may enter it, also if it was there before; and whatever the process writes within the block,
    here or elsewhere, is made for its owner alone.

    Raises:
        OutputError: when the folder cannot be made or kept private, or another worker holds it.
    """
    umask = os.umask(0o077)
    try:
        with _held(folder):
            yield folder
    finally:
        os.umask(umask)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_private(folder)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except OSError as error:
        if isinstance(error, Timeout):
            hint = "give each worker a --state of its own"
            raise OutputError("another worker uses this folder", facts={"--state": folder}, hint=hint) from None
        facts = {"--state": folder, "found": error.strerror}
        raise OutputError("the state folder cannot be made", facts=facts) from error
    try:
        yield
    finally:
        lock.release()


def _make_private(folder: Path) -> None:
    """Takes everybody else's rights from a folder, so that nothing in it can be reached.

    Raises:
        OutputError: when the folder is another user's or its file system does not keep modes.
    """
    with suppress(PermissionError):
        folder.chmod(0o700)
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        raise OutputError(
            "the state folder must be its owner's alone, since images lie in it",
            facts={"--state": folder, "found": f"mode {mode:04o}, which cannot be set to 0700"},
            hint="choose a --state that belongs to the worker's user, on a file system that keeps modes",
        )


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
