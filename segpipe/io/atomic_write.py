"""Files that are seen whole or not at all; what a killed writer left beside them goes with the next write there."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock

_PREFIX = ".segpipe-part-"
_LOCK, _CONTENT = "lock", "content"
_QUIET_S = 60.0
"""Nothing younger goes: a folder that is not locked yet, or one in a shared folder whose locks end at the machine."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yields a place to write to; what is there when the block ends well replaces `path`, and leaves when it does not.

    Files written beside that place, such as the voxels of a header, are moved first. The folder of `path` is made.

    Raises:
        OSError: when a folder or a file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    with TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder, _held(Path(folder)):
        content = Path(folder, _CONTENT)
        content.mkdir()
        yield content / path.name
        for file in sorted(content.iterdir(), key=lambda file: file.name == path.name):
            file.replace(path.parent / file.name)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locks a folder until the block ends or the process dies, where the file system has locks."""
    lock = FileLock(folder / _LOCK)
    with suppress(OSError, NotImplementedError):
        lock.acquire(timeout=0)
    try:
        yield
    finally:
        lock.release()


def _sweep(folder: Path) -> None:
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError, NotImplementedError):  # held, gone meanwhile, another user's, or no locks to tell by
            if not left.is_symlink() and _age_s(left) > _QUIET_S:
                with FileLock(left / _LOCK, timeout=0):
                    shutil.rmtree(left)


def _age_s(folder: Path) -> float:
    """Seconds since something in a folder was changed."""
    return time.time() - max(file.stat().st_mtime for file in (folder, *folder.rglob("*")))
