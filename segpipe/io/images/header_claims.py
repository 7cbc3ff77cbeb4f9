"""Holds what a header claims against bytes and memory there are, before any is taken or another file is opened."""

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path, PurePosixPath, PureWindowsPath

from segpipe.errors import ImageError
from segpipe.system.machine.memory import available_memory

MOST_PER_BYTE = 1032
"""What deflate can unpack from one byte at most (zlib's technical details)."""
_DATA_FILE = re.compile(rb"^\s*(?:ElementDataFile\s*=|data ?file\s*:=?)\s*(.*?)\s*$", re.IGNORECASE)
_PACKED = re.compile(rb"^\s*(?:CompressedData\s*=\s*True|encoding\s*:\s*(?!raw))", re.IGNORECASE | re.MULTILINE)
_DIMENSIONS = re.compile(rb"NDims\s*[=:]\s*(\S*)")
_MOST_DIMENSIONS = 10
_LONGEST_HEADER = 2**16
_COPY_BYTES = 4
"""Of a voxel that is worked on, next to the one that was read."""


def check_size(shape: Sequence[int], item_bytes: int, *, there: int, packed: bool) -> None:
    """Checks that there can be as many voxels as a header claims, and memory for them, which a small file can fill.

    Args:
        shape: As claimed.
        item_bytes: Bytes of one voxel.
        there: Bytes of the file.
        packed: Whether they are compressed.

    Raises:
        EOFError: when there cannot.
        ImageError: when they take more memory than this process may take.
    """
    voxels = prod(int(count) for count in shape)
    claimed = voxels * item_bytes
    most = there * (MOST_PER_BYTE if packed else 1)
    if claimed > most:
        raise EOFError(f"the header claims {claimed} bytes of voxels, the file can hold {most}")
    needed, memory = voxels * (item_bytes + _COPY_BYTES), available_memory()
    if needed > memory:
        raise ImageError(
            "the image needs more memory than there is",
            facts={"voxels": "×".join(map(str, shape)), "needs": f"{needed} bytes", "there are": f"{memory} bytes"},
            hint="crop it to the chest, or give the machine or container more memory",
        )


def files_of(path: Path) -> tuple[list[Path], bool]:
    """The files that hold the voxels of a MetaImage or NRRD file, and whether they are compressed.

    A header that names voxels in several files by a pattern or a list gives the folder's files that it may mean.

    Raises:
        ImageError: when a header names a file outside its own folder, or dimensions without bound.
    """
    with path.open("rb") as stream:
        header = stream.read(_LONGEST_HEADER)
    _check_dimensions(header, path)
    lines = header.splitlines()
    found = next((number for number, line in enumerate(lines) if _DATA_FILE.match(line)), None)
    if found is None:
        return [path], bool(_PACKED.search(header))
    match = _DATA_FILE.match(lines[found])
    named = match[1].decode("utf-8", "replace") if match else ""
    packed = bool(_PACKED.search(b"\n".join(lines[:found])))
    if named.upper() == "LOCAL":
        return [path], packed
    several = named.upper().startswith("LIST")
    names = [line.decode("utf-8", "replace").strip() for line in lines[found + 1 :]] if several else [named]
    _check_inside(names, path)
    single = path.parent / named
    return [single] if single.is_file() else [file for file in path.parent.iterdir() if file.is_file()], packed


def _check_dimensions(header: bytes, path: Path) -> None:
    """ITK makes room for as many numbers as a MetaImage says that it has dimensions, and ends the process."""
    counts = [match[1] for match in _DIMENSIONS.finditer(header)]
    wrong = [count for count in counts if not re.fullmatch(rb"\d{1,9}", count) or int(count) > _MOST_DIMENSIONS]
    if wrong:
        found = wrong[0][:20].decode("ascii", "replace")
        raise ImageError(
            f"an image must have {_MOST_DIMENSIONS} dimensions at most",
            facts={"file": path, "NDims": found},
            hint="copy or export the file again",
        )


def _check_inside(names: Sequence[str], path: Path) -> None:
    for name in names:
        posix, windows = PurePosixPath(name), PureWindowsPath(name)
        if posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts:
            raise ImageError(
                "a header may not name a file outside its folder",
                facts={"file": path},
                hint="put the file with the voxels next to its header, and name it there without a path",
            )
