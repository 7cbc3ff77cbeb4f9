"""The scans that an input names: image files, folders of them, and DICOM folders or zip files; each read on demand."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segpipe.case import Case, Volume
from segpipe.errors import ImageError
from segpipe.geometry import Grid
from segpipe.inference.findings import Finding
from segpipe.io.images.volumes import SUFFIXES, list_volumes, read_shape, read_volume, volume_name
from segpipe.lesions import superior_axis

_LOG = logging.getLogger("segpipe.predict")

if TYPE_CHECKING:
    from segpipe.io.dicom.series.description import SeriesInfo


@dataclass(frozen=True, eq=False)
class Scan:
    """One scan to predict; nothing of it is read yet.

    Args:
        name: What its results are called; taken from the input's own file or folder name alone.
        read: Reads it.
        count_voxels: Counts its voxels without reading them.
        stamp: Changes when its files change.
        series: The DICOM series that it is, if it is one.
    """

    name: str
    read: Callable[[], Volume]
    count_voxels: Callable[[], int]
    stamp: str
    series: "SeriesInfo | None" = None

    def read_case(self) -> Case:
        """Reads it as a case without a mask."""
        volume = self.read()
        return Case(self.name, volume.array, volume.grid)


def find_scans(path: Path) -> list[Scan]:
    """Lists the scans of an image file, a folder of image files, or else a DICOM folder, zip file or DICOMDIR.

    Scans whose names clash get numbers.

    Raises:
        ImageError: when there is nothing to predict.
    """
    if not path.exists():
        raise ImageError("the input must exist", facts={"input": path, "found": "nothing there"})
    if path.is_file() and path.name.lower().endswith(SUFFIXES):
        return [_from_file(path)]
    files = list_volumes(path) if path.is_dir() else []
    return number_clashes([_from_file(file) for file in files] or _from_dicom(path))


def scan_of(series: "SeriesInfo", name: str) -> Scan:
    """A DICOM series as a scan that is called `name`."""
    from segpipe.io.dicom.series.series import read_series, stack_series

    def read() -> Volume:
        for remark in stack_series(series).remarks:
            _LOG.warning("%s: %s", name, remark)
        return read_series(series)

    rows, columns = series.planes[0].shape
    voxels = len(series.planes) * rows * columns
    files = sorted({file.path for file in series.files})
    return Scan(name, read, lambda: voxels, _stamp(files), series)


def number_slices(findings: Sequence[Finding], scan: Scan, grid: Grid) -> list[Finding]:
    """The same findings with the slice numbers of the original series, as a reader of the series sees them."""
    numbers = scan.series and superior_axis(grid) == 2 and _slice_numbers(scan.series)
    if not numbers:
        return list(findings)
    return [replace(finding, slice_number=numbers[finding.slice_index]) for finding in findings]


def number_clashes(scans: Sequence[Scan]) -> list[Scan]:
    """The same scans with different names: those that share one get -1, -2, … in their order.

    Names that differ in case alone clash too, since some file systems do not distinguish them.
    """
    shared = Counter(scan.name.lower() for scan in scans)
    taken = {name for name, count in shared.items() if count == 1}
    last: Counter[str] = Counter()
    numbered = []
    for scan in scans:
        name, key = scan.name, scan.name.lower()
        while shared[key] > 1 and (name == scan.name or name.lower() in taken):
            last[key] += 1
            name = f"{scan.name}-{last[key]}"
        taken.add(name.lower())
        numbered.append(replace(scan, name=name))
    return numbered


def _from_file(file: Path) -> Scan:
    def count_voxels() -> int:
        return int(np.prod(read_shape(file), dtype=np.int64))

    return Scan(volume_name(file), lambda: read_volume(file), count_voxels, _stamp([file]))


def _from_dicom(path: Path) -> list[Scan]:
    from segpipe.io.dicom.series.series import find_series

    return [scan_of(series, path.resolve().stem) for series in find_series(path).series]


def _slice_numbers(series: "SeriesInfo") -> list[int] | None:
    """Instance Number of each slice in the order of the array, or of its frame; None if unknown."""
    from segpipe.io.dicom.series.series import stack_series

    planes = stack_series(series).planes
    frames = len({plane.file for plane in planes}) < len(planes)
    numbers = [plane.frame + 1 if frames else plane.order[1] for plane in planes]
    return numbers if len(set(numbers)) == len(numbers) else None


def _stamp(files: Sequence[Path]) -> str:
    """16 hex digits made of size and time of change of the files."""
    states = [file.stat() for file in files]
    return sha256(repr([(state.st_size, state.st_mtime_ns) for state in states]).encode()).hexdigest()[:16]
