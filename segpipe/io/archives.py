"""Unpacks zip and tar archives so that nothing lands outside the folder and nothing half-written stays behind."""

import contextlib
import lzma
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from segpipe.errors import DatasetError, OutputError
from segpipe.system.files.atomic_write import atomic_write

_DAMAGED: tuple[type[Exception], ...] = (
    zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    ValueError, KeyError, IndexError, struct.error, ArithmeticError,
    RuntimeError,  # a zip may want a password or a method of compression that Python lacks
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One file of an archive: its name with forward slashes and its size in bytes."""

    name: str
    size: int


def unpack(archive: Path, folder: Path, *, wanted: Callable[[str], bool] = lambda name: True) -> list[Path]:
    """Unpacks the wanted files of a zip or tar archive below `folder`; files already there with their size are kept.

    Every name is checked before the first byte is written.

    Returns:
        The files, in the order of the archive.

    Raises:
        DatasetError: for a missing, damaged or foreign archive, or one with a link, a device or a path that leads out.
        OutputError: when the disk has too little room.
    """
    with _opened(archive) as (members, read):
        chosen = [member for member in members if wanted(member.name)]
        for member in chosen:
            _check_name(member.name, archive)
        missing = [member for member in chosen if not _is_there(folder / member.name, member.size)]
        _check_room(sum(member.size for member in missing), folder)
        for member in missing:
            with read(member.name) as stream:
                _write(stream, folder / member.name, member.size)
    return [folder / member.name for member in chosen]


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tuple[list[Member], Callable[[str], IO[bytes]]]]:
    """The files of an archive and a function that opens one of them by name."""
    if not archive.is_file():
        raise DatasetError("the archive does not exist", facts={"file": archive})
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                infos = [info for info in opened.infolist() if not info.is_dir()]
                _check_kinds({info.filename: _is_zip_link(info) for info in infos}, archive)
                yield [Member(info.filename, info.file_size) for info in infos], opened.open
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                entries = [entry for entry in tar.getmembers() if not entry.isdir()]
                _check_kinds({entry.name: not entry.isreg() for entry in entries}, archive)
                yield [Member(entry.name, entry.size) for entry in entries], lambda name: _tar_stream(tar, name)
        else:
            raise DatasetError("the file is neither a zip nor a tar archive", facts={"file": archive})
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise OutputError("the archive cannot be unpacked", facts={"file": archive, "found": error}) from error
        raise DatasetError(
            "the archive is damaged",
            facts={"file": archive, "found": type(error).__name__},
            hint="download it again; one with a password or an unusual compression is to be packed anew",
        ) from error


def _tar_stream(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = tar.extractfile(name)
    if stream is None:
        raise tarfile.ReadError(name)
    return stream


def _is_zip_link(info: zipfile.ZipInfo) -> bool:
    kind = info.external_attr >> 28
    return kind not in (0, 0o10)


def _check_kinds(special: dict[str, bool], archive: Path) -> None:
    strange = [name for name, is_special in special.items() if is_special]
    if strange:
        raise DatasetError(
            "an archive may hold plain files only",
            facts={"file": archive, "found": f"{len(strange)} links or devices, e.g. {strange[0]}"},
        )


def _check_name(name: str, archive: Path) -> None:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or ".." in windows.parts:
        raise DatasetError(
            "an archive may not write outside its folder",
            facts={"file": archive, "member": name},
            hint="nothing was unpacked; get the archive from its publisher",
        )


def _is_there(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _check_room(size: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise OutputError(
            "the disk has too little room for the archive",
            facts={"needed": f"{size / 1e9:.1f} GB", "free": f"{free / 1e9:.1f} GB"},
        )


def _write(stream: IO[bytes], file: Path, size: int) -> None:
    with atomic_write(file) as part:
        with part.open("wb") as target:
            shutil.copyfileobj(stream, target, 1 << 20)
        if part.stat().st_size != size:
            raise EOFError(file.name)
