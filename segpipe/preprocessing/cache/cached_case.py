"""A prepared case on disk: compressed in chunks, so that a patch is read without the rest of the volume."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import DatasetError, OutputError
from segpipe.geometry import Grid
from segpipe.lesions import Lesion
from segpipe.preprocessing.cache.sample_points import Points, read_point, write_points
from segpipe.system.files.plain_files import read_json

FORMAT = "segpipe-cache-1"
# Measured on a thorax CT at 1 mm with patches of 96×96×64: LZ4 with bit shuffle reads a patch in 1 ms at a third of
# the size; zstd saves another 15 % and takes twice as long; other chunk and block edges are no faster.
_CHUNK = 64
_BLOCK = 16
_FACTS, _POINTS, _IMAGE, _MASK = "case.json", "points.i16", "image.b2nd", "mask.b2nd"


@dataclass(frozen=True, eq=False)
class CachedCase:
    """One case on the recipe's grid; reads patches, never the whole volume.

    Args:
        id: The case's name in the data set.
        folder: Where its arrays lie.
        grid: The recipe's grid of this scan.
        lesion_diameters_mm: Longest diameter of each lesion on that grid.
        point_counts: Voxels kept of each lesion and, last, of the body.
        lung_share: Share of the scan inside the lungs' box, where the recipe crops to it and lungs were found.
        lesion_classes: Number of each lesion's class, from 0; empty where all are of the first.
        scan_digest: Of the scan as it was read; see `segpipe.preprocessing.scan_digest`.
    """

    id: str
    folder: Path
    grid: Grid
    lesion_diameters_mm: tuple[float, ...]
    point_counts: tuple[int, ...]
    lung_share: float | None = None
    lesion_classes: tuple[int, ...] = ()
    scan_digest: str = ""

    def read(
        self, start: tuple[int, int, int], shape: tuple[int, int, int]
    ) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Reads the box of `shape` voxels from voxel `start`; what lies outside the scan repeats its border.

        Returns:
            HU clipped to the recipe's window, and the mask, each (x, y, z).

        Raises:
            DatasetError: when the cache is damaged.
        """
        spans, padding = _clip(start, shape, self.grid.shape)
        return self._read_array(_IMAGE, spans, padding), self._read_array(_MASK, spans, padding)

    def read_whole(self) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Reads all of it, as `read` reads a box."""
        return self.read((0, 0, 0), self.grid.shape)

    def pick_voxel(self, lesion: int | None, rng: np.random.Generator) -> NDArray[np.int64]:
        """A random voxel of one lesion, or of the body for None; of the whole scan where no body was found."""
        group = len(self.point_counts) - 1 if lesion is None else lesion
        if self.point_counts[group] == 0:
            return rng.integers(0, self.grid.shape)
        row = sum(self.point_counts[:group]) + int(rng.integers(self.point_counts[group]))
        return read_point(self.folder / _POINTS, row)

    def _read_array(self, name: str, spans: tuple[slice, ...], padding: list[tuple[int, int]]) -> NDArray[Any]:
        import blosc2

        try:
            stored = blosc2.open(str(self.folder / name), mode="r", dparams={"nthreads": 1})
            box: NDArray[Any] = stored[spans]
        except (OSError, RuntimeError, ValueError) as error:
            raise DatasetError(
                "a prepared case of the cache cannot be read",
                facts={"case": self.id, "folder": self.folder, "found": error},
                hint="delete this folder; the next run prepares the case again",
            ) from error
        return np.pad(box, padding, mode="edge") if any(map(any, padding)) else box


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """What the cache keeps of a case, on the recipe's grid: HU clipped to the window, the mask, and what they hold.

    The lesions are those of each class, and the digest that of the scan as it was read.
    """

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    grid: Grid
    points: Points
    lesions: list[list[Lesion]]
    scan_digest: str
    lung_share: float | None = None


def write_case(folder: Path, case: PreparedCase) -> None:
    """Writes the files of one prepared case into an existing folder; the facts come last and vouch for the others."""
    _write_array(folder / _IMAGE, case.image)
    _write_array(folder / _MASK, case.mask)
    counts = write_points(case.points, folder / _POINTS)
    classes = [number for number, lesions in enumerate(case.lesions) for _ in lesions]
    facts = {
        "format": FORMAT,
        "shape": list(case.grid.shape),
        "affine": case.grid.affine.tolist(),
        "lesions": [asdict(lesion) for lesions in case.lesions for lesion in lesions],
        "points": counts,
        "lung_share": case.lung_share,
        "scan_digest": case.scan_digest,
        **({"lesion_classes": classes} if any(classes) else {}),
        "bytes": {name: (folder / name).stat().st_size for name in (_IMAGE, _MASK, _POINTS)},
    }
    (folder / _FACTS).write_text(json.dumps(facts))


def open_case(folder: Path, case_id: str) -> CachedCase | None:
    """Opens a prepared case, or returns None where there is none or it is not whole."""
    try:
        facts = read_json(folder / _FACTS)
        whole = all((folder / name).stat().st_size == size for name, size in facts["bytes"].items())
    except (OSError, ValueError, KeyError):
        return None
    if facts["format"] != FORMAT or not whole or "scan_digest" not in facts:  # which an earlier version left out
        return None
    diameters = tuple(float(lesion["longest_diameter_mm"]) for lesion in facts["lesions"])
    grid = Grid(tuple(facts["shape"]), np.array(facts["affine"]))
    classes = tuple(facts.get("lesion_classes", ()))
    return CachedCase(
        case_id,
        folder,
        grid,
        diameters,
        tuple(facts["points"]),
        facts.get("lung_share"),
        classes,
        facts["scan_digest"],
    )


def _write_array(file: Path, array: NDArray[Any]) -> None:
    import blosc2

    compression = {"codec": blosc2.Codec.LZ4, "clevel": 5, "filters": [blosc2.Filter.BITSHUFFLE], "nthreads": 1}
    chunks, blocks = (tuple(min(edge, n) for n in array.shape) for edge in (_CHUNK, _BLOCK))
    contiguous = np.ascontiguousarray(array)
    try:
        blosc2.asarray(contiguous, urlpath=str(file), mode="w", chunks=chunks, blocks=blocks, cparams=compression)
    except RuntimeError as error:  # all that the library says of a full disk
        raise OutputError(
            "a prepared case cannot be written",
            facts={"folder": file.parent, "found": error},
            hint="free space on this disk or choose another folder with data.cache",
        ) from error


def _clip(
    start: tuple[int, int, int], shape: tuple[int, int, int], limits: tuple[int, int, int]
) -> tuple[tuple[slice, ...], list[tuple[int, int]]]:
    """Splits a box into what lies inside the array and how often the border repeats on either side."""
    spans, padding = [], []
    for first, count, limit in zip(start, shape, limits, strict=True):
        low = min(max(first, 0), limit - 1)
        high = max(min(first + count, limit), low + 1)
        before = min(max(low - first, 0), count - 1)
        spans.append(slice(low, high))
        padding.append((before, count - (high - low) - before))
    return tuple(spans), padding
