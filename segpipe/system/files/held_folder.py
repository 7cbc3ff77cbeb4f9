"""A folder that one process works in: held while it does, and marked where it was cut off."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from segpipe.errors import ConfigError

MARK = ".running"


@contextmanager
def hold(
    folder: Path, *, hint: str = "wait until it has ended", marks_errors: bool = True, wait_s: float = 0.0
) -> Iterator[None]:
    """Keeps other processes out of a folder until the block ends or this process dies.

    Where the file system has no locks (some network file systems) nobody is kept out. The mark stays when the process
    is killed.

    Args:
        folder: The folder; it should exist.
        hint: What to try when another process holds it.
        marks_errors: Whether the mark stays when the block ends by an error, too.
        wait_s: How long another process is waited for.

    Raises:
        ConfigError: when another process holds the folder.
    """
    unmarks = not marks_errors
    with _locked(folder, hint, wait_s):
        try:
            yield
            unmarks = True
        finally:
            if unmarks:
                _unmark(folder)


@contextmanager
def visit(folder: Path, *, hint: str = "wait until it has ended") -> Iterator[None]:
    """Keeps other processes out as `hold` does, and leaves the mark as it was.

    Raises:
        ConfigError: when another process holds the folder, or may do so where the file system has no locks.
    """
    marked = was_cut_off(folder)
    with _locked(folder, hint) as locked:
        if marked and not locked:
            raise ConfigError(
                "another process may be at work in this folder, whose file system has no locks",
                facts={"folder": folder},
                hint=hint,
            )
        try:
            yield
        finally:
            if not marked:
                _unmark(folder)


def was_cut_off(folder: Path) -> bool:
    """Whether the process that worked here last was killed or has failed, or is still at work."""
    return (folder / MARK).exists()


@contextmanager
def _locked(folder: Path, hint: str, wait_s: float = 0.0) -> Iterator[bool]:
    """Locks the mark; yields whether the file system can."""
    lock = FileLock(folder / MARK)
    try:
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise ConfigError(
            "another process is at work in this folder",
            facts={"folder": folder},
            hint=hint,
        ) from error
    except (OSError, NotImplementedError):
        pass  # no locks here; what cannot be written is reported by the first file that must be
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _unmark(folder: Path) -> None:
    """Removes the mark while it is locked: whoever has opened it meanwhile sees that it is gone."""
    with suppress(OSError):
        (folder / MARK).unlink(missing_ok=True)
