"""Opens DICOM files that are packed, in a zip file or by their own syntax, and none that unpacks without bound."""

import io
import os
import zipfile
import zlib
from typing import Any, BinaryIO, cast

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

LARGEST_UNPACKED = 2**28
"""Bytes; what unpacks to more must not be `MOST_PER_BYTE` times as large as it is packed."""
MOST_PER_BYTE = 50
_CHUNK = 2**20


def open_member(archive: zipfile.ZipFile, name: str) -> BinaryIO:
    """Opens a file of a zip file.

    Raises:
        zipfile.LargeZipFile: when it would unpack to more than files of its size do.
    """
    info = archive.getinfo(name)
    if info.file_size > _bound(info.compress_size):
        raise zipfile.LargeZipFile(name)
    return cast(BinaryIO, archive.open(name))


def read_dataset(stream: BinaryIO, **options: Any) -> Dataset:
    """Reads a data set as `pydicom.dcmread` does, also without the header of a file.

    Raises:
        ValueError: when a deflated one would unpack to more than files of its size do.
        Exception: what pydicom has against it.
    """
    start = stream.tell()
    _check_deflated(stream)
    stream.seek(start)
    source = _Within(stream) if isinstance(stream, io.BufferedReader) else stream
    return pydicom.dcmread(source, force=True, **options)


class _Within:
    """A file from which no more is asked for than it has; Python takes memory for all that is asked for first."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._end = os.fstat(file.fileno()).st_size
        self.tell, self.seek = file.tell, file.seek

    def read(self, size: int = -1) -> bytes:
        """The next bytes, as of a file."""
        most = max(0, self._end - self._file.tell())
        return self._file.read(most if size < 0 else min(size, most))


def _check_deflated(stream: BinaryIO) -> None:
    """Pydicom unpacks the whole of a deflated data set before it looks at any of it."""
    start = stream.tell()
    if str(DeflatedExplicitVRLittleEndian).encode() not in stream.read(2**12):
        return
    stream.seek(start)
    read_preamble(stream, force=True)
    if _read_file_meta_info(stream).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    packed = stream.read()
    left, bound = packed, _bound(len(packed))
    inflating = zlib.decompressobj(-zlib.MAX_WBITS)
    while left and bound >= 0:
        bound -= len(inflating.decompress(left, _CHUNK))
        left = inflating.unconsumed_tail
    if bound < 0:
        raise ValueError("unpacks without bound")


def _bound(packed: int) -> int:
    return max(LARGEST_UNPACKED, MOST_PER_BYTE * packed)
