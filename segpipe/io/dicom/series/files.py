"""Where DICOM files are: in folders, inside zip files or listed by a DICOMDIR; opened in place, never unpacked."""

import contextlib
import io
import os
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from threading import Lock
from typing import BinaryIO, TypeVar, cast

from pydicom.dataset import Dataset

from segpipe.errors import ImageError, SegpipeError
from segpipe.io.dicom.series.inflation import open_member, read_dataset
from segpipe.io.dicom.values import items_of
from segpipe.io.quiet import quiet_libraries

Read = TypeVar("Read")
NOT_DICOM = "not DICOM"
DAMAGED = "a damaged DICOM file"
DAMAGED_ZIP = "a damaged zip file"
UNOPENED = "a file that cannot be opened (gone, forbidden, or in a zip with a password)"
_BARE_STARTS = tuple(bytes([group, 0, element, 0]) for group, element in ((2, 0), (8, 0), (8, 5), (8, 8), (8, 22)))


# a zip may want a password or a method of compression that Python lacks
_UNOPENABLE = (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, NotImplementedError, KeyError)


@dataclass(frozen=True, order=True)
class DicomFile:
    """One DICOM file: a path, or a member of a zip file. Its name may name a patient; keep it out of messages."""

    path: Path
    member: str = ""

    def __repr__(self) -> str:
        return "DicomFile(…)"


_ReadStream = Callable[[DicomFile, BinaryIO], Read]


def list_files(path: Path) -> list[DicomFile]:
    """All files under a folder, inside a zip file or listed by a DICOMDIR, sorted; zip files in folders are entered.

    Raises:
        ImageError: for a path that does not exist, a damaged zip file or DICOMDIR.
    """
    if not path.exists():
        raise ImageError("the DICOM input does not exist", facts={"path": path}, hint="check the path")
    if path.is_file():
        return _expand(path) if path.name.upper() != "DICOMDIR" else _listed_by_dicomdir(path)
    files = (Path(folder, name) for folder, _, names in os.walk(path, followlinks=False) for name in names)
    # pipes and devices, which could be waited for without end, are no files; a broken link is one that is missing
    return [
        file for found in sorted(files) if found.is_file() or found.is_symlink() for file in _expand_if_sound(found)
    ]


def read_headers(files: Sequence[DicomFile], *, tags: Sequence[str], workers: int = 4) -> list[Dataset | str]:
    """The named attributes of each file, pixels skipped; NOT_DICOM or another reason where there are none."""

    def read(file: DicomFile, stream: BinaryIO) -> Dataset | str:
        return DAMAGED_ZIP if _is_zip(file.path) and not file.member else _header(stream, tags)

    return list(_each(files, read, unopened=cast(Dataset | str, UNOPENED), workers=workers))


def map_files(
    files: Sequence[DicomFile], read: Callable[[DicomFile, Dataset], Read], *, pixels: bool = True, workers: int = 4
) -> Iterator[Read]:
    """Applies `read` to each file and its data set in threads; results come in the order of `files`.

    Args:
        files: Where to read.
        read: Gets the file and its data set, without pixels unless `pixels`.
        pixels: Whether pixels are read.
        workers: Threads.

    Raises:
        ImageError: when a file cannot be opened or parsed, or `read` finds it damaged.
    """

    def parse_and_read(file: DicomFile, stream: BinaryIO) -> Read:
        with reading("DICOM file"):
            source = io.BytesIO(stream.read()) if pixels else stream
            return read(file, read_dataset(source, stop_before_pixels=not pixels))

    return _each(files, parse_and_read, workers=workers)


@contextlib.contextmanager
def reading(what: str) -> Iterator[None]:
    """Reads from data sets in silence; whatever a garbled one makes pydicom raise becomes one message without values.

    Args:
        what: What is read, e.g. `structure set`.

    Raises:
        ImageError: when something in it cannot be read.
    """
    try:
        with quiet_libraries():
            yield
    except (SegpipeError, MemoryError):
        raise
    except Exception as error:  # pydicom answers a garbled data set with errors of many kinds, which may quote it
        raise ImageError(
            f"the {what} is damaged or lacks what it must hold",
            facts={"found": type(error).__name__},
            hint="export or download it again",
        ) from None


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _expand_if_sound(path: Path) -> list[DicomFile]:
    """The files of a zip file, or the zip file itself where it is damaged, which costs that one alone."""
    try:
        return _expand(path)
    except ImageError:
        return [DicomFile(path)]


def _expand(path: Path) -> list[DicomFile]:
    if not _is_zip(path):
        return [DicomFile(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(info.filename for info in archive.infolist() if not info.is_dir())
            return [DicomFile(path, name) for name in names]
    except Exception as error:  # zipfile answers a garbled directory with errors of many kinds
        raise ImageError(
            "a zip file is damaged", facts={"found": type(error).__name__}, hint="download or export it again"
        ) from None


def _listed_by_dicomdir(path: Path) -> list[DicomFile]:
    with reading("DICOMDIR"):
        with path.open("rb") as stream:
            records = items_of(read_dataset(stream), "DirectoryRecordSequence")
        names = [_parts(record.ReferencedFileID) for record in records if record.get("ReferencedFileID")]
    outside = sum(not _stays_inside(name) for name in names)
    if outside:
        raise ImageError(
            "the DICOMDIR lists files outside its folder",
            facts={"listed": len(names), "outside": outside},
            hint="pass the folder with the images instead",
        )
    files = [path.parent.joinpath(*name) for name in names]
    missing = sum(not file.is_file() for file in files)
    if missing or not files:
        raise ImageError(
            "the DICOMDIR lists files that are not there" if missing else "the DICOMDIR lists no file",
            facts={"listed": len(files), "missing": missing},
            hint="copy the whole medium, or pass its folder to read what is there",
        )
    return sorted(DicomFile(file) for file in files)


def _stays_inside(name: tuple[str, ...]) -> bool:
    """Whether a file id leads from the DICOMDIR's folder downwards, on every operating system."""
    windows = PureWindowsPath(*name)
    return not (PurePosixPath(*name).is_absolute() or windows.drive or windows.root or ".." in windows.parts)


def _parts(file_id: str | Iterable[str]) -> tuple[str, ...]:
    parts = [file_id] if isinstance(file_id, str) else list(file_id)
    return PurePosixPath("/".join(parts)).parts


def _each(
    files: Sequence[DicomFile], read: _ReadStream[Read], *, workers: int, unopened: Read | None = None
) -> Iterator[Read]:
    """Applies `read` to each opened file, a bounded number ahead, so that memory stays flat.

    Args:
        files: Where to read.
        read: Gets the file and its stream.
        workers: Threads.
        unopened: Stands for a file that cannot be opened; None raises ImageError.
    """
    ahead = 2 * workers
    jobs: deque[Future[Read]] = deque()
    with _Archives(files) as archives, ThreadPoolExecutor(workers) as pool:
        for file in files:
            jobs.append(pool.submit(_opened, file, read, archives=archives, unopened=unopened))
            if len(jobs) > ahead:
                yield jobs.popleft().result()
        while jobs:
            yield jobs.popleft().result()


def _opened(file: DicomFile, read: _ReadStream[Read], *, archives: "_Archives", unopened: Read | None) -> Read:
    try:
        with quiet_libraries():
            if not file.member:
                with file.path.open("rb") as stream:
                    return read(file, stream)
            with archives.lend(file.path) as archive, open_member(archive, file.member) as member:
                return read(file, member)
    except _UNOPENABLE as error:
        if unopened is not None:
            return unopened
        facts = {"found": type(error).__name__}  # its text shows the file's name
        raise ImageError("a file cannot be opened", facts=facts, hint="check that it is there and readable") from None


class _Archives:
    """Zip files shared by threads: each is opened at its first use and closed after its last."""

    def __init__(self, files: Sequence[DicomFile]) -> None:
        self._left = Counter(file.path for file in files if file.member)
        self._open: dict[Path, zipfile.ZipFile] = {}
        self._lock = Lock()

    def __enter__(self) -> "_Archives":
        return self

    def __exit__(self, *_: object) -> None:
        for archive in self._open.values():
            archive.close()

    @contextlib.contextmanager
    def lend(self, path: Path) -> Iterator[zipfile.ZipFile]:
        with self._lock:
            if path not in self._open:
                self._open[path] = zipfile.ZipFile(path)
            archive = self._open[path]
        yield archive
        with self._lock:
            self._left[path] -= 1
            if not self._left[path]:
                self._open.pop(path).close()


def _header(stream: BinaryIO, tags: Sequence[str]) -> Dataset | str:
    try:
        start = stream.read(132)
        stream.seek(0)
        if start[128:] != b"DICM" and not start.startswith(_BARE_STARTS):
            return NOT_DICOM
        return read_dataset(stream, stop_before_pixels=True, specific_tags=list(tags))
    except Exception:  # pydicom answers a damaged file with errors of many kinds
        return DAMAGED
