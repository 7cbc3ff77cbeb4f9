"""Files that are seen whole or not at all; what a killed writer left there is removed with the next write."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock

from segpipe.errors import OutputError

_PREFIX = ".segpipe-part-"
_LOCK, _CONTENT = "lock", "content"
_QUIET_S = 60.0
"""Nothing younger is removed: it may not be locked yet, or be shared by machines that do not see each other's locks."""
_swept: dict[Path, float] = {}


@contextmanager
def atomic_write(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yields a place to write to; what is there when the block ends well replaces `path`, else it is removed.

    Files written next to that place, such as the voxels of a header, are moved first. The folder of `path` is made.

    Args:
        path: The file that is to be, or the folder, if none of that name is there.
        durable: Whether it must be safe on the disk, against a power cut, before it has its name, and keep that.

    Raises:
        OSError: when a folder or a file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    with TemporaryDirectory(prefix=_PREFIX, dir=path.parent) as folder, _held(Path(folder)):
        content = Path(folder, _CONTENT)
        content.mkdir()
        yield content / path.name
        if durable:
            _flush(content / path.name)
        for file in sorted(content.iterdir(), key=lambda file: file.name == path.name):
            file.replace(path.parent / file.name)
        if durable:
            _flush_one(path.parent)


def is_part(name: str) -> bool:
    """Whether a file or folder of this name is one that is being written, or was when its writer was killed."""
    return name.startswith(_PREFIX)


def write_text(path: Path, text: str, *, what: str, private: bool = False, hint: str | None = None) -> Path:
    """Writes a text file (UTF-8) whole or not at all.

    Args:
        path: The file.
        text: Its content.
        what: What the error calls it, e.g. `the report`.
        private: Whether its owner alone may read it.
        hint: What to try when it cannot be written.

    Raises:
        OutputError: when it cannot be written.
    """
    try:
        with atomic_write(path) as part:
            part.touch(mode=0o600 if private else 0o666)
            part.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        facts = {"file": path, "found": error.strerror or error}
        raise OutputError(f"{what} cannot be written", facts=facts, hint=hint) from error
    return path


def write_json(path: Path, content: Any, *, what: str, indent: int | None = 1) -> Path:
    """Writes plain data as JSON, whole or not at all; not-a-number is no JSON and is refused.

    Raises:
        OutputError: when it cannot be written.
    """
    return write_text(path, json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False) + "\n", what=what)


def append_whole(path: Path, lines: str) -> None:
    """Adds lines of text (UTF-8) to a file, all of them or none, behind one that a killed writer cut short.

    Raises:
        OSError: when the disk does not take them.
    """
    with path.open("ab+", buffering=0) as stream:
        length = stream.seek(0, os.SEEK_END)
        stream.seek(max(length - 1, 0))
        content = (b"" if stream.read(1) in (b"", b"\n") else b"\n") + lines.encode()
        try:
            while content:
                content = content[stream.write(content) :]
        except OSError:
            with suppress(OSError):
                stream.truncate(length)
            raise


def _flush(path: Path) -> None:
    """A file, or a folder with all that is in it."""
    for one in (*path.rglob("*"), path):
        _flush_one(one)


def _flush_one(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folder, and keeps names by itself
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    """Removes what killed writers left in a folder; where many files are written it looks once in a while."""
    if time.monotonic() < _swept.get(folder, 0.0) + _QUIET_S:
        return
    _swept[folder] = time.monotonic()
    for left in folder.glob(f"{_PREFIX}*"):
        with suppress(OSError, NotImplementedError):  # held, gone meanwhile, another user's, or no locks to go by
            if not left.is_symlink() and _age_s(left) > _QUIET_S:
                with FileLock(left / _LOCK, timeout=0):
                    shutil.rmtree(left)


def _age_s(folder: Path) -> float:
    """Seconds since something in a folder was changed."""
    return time.time() - max(file.stat().st_mtime for file in (folder, *folder.rglob("*")))
