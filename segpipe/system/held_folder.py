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
    mark = folder / MARK
    lock = FileLock(mark)
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
    unmarks = not marks_errors
    try:
        yield
        unmarks = True
    finally:
        with suppress(OSError):
            if unmarks:
                mark.unlink(missing_ok=True)  # still locked: whoever has opened it meanwhile sees that it is gone
        lock.release()


def was_cut_off(folder: Path) -> bool:
    """Whether the process that worked here last was killed or has failed, or is still at work."""
    return (folder / MARK).exists()
