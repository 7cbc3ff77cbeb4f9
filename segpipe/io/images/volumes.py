"""Scans and masks as single files (NIfTI, NRRD, MetaImage), read and written the same way whatever the format."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Volume
from segpipe.errors import GeometryError, ImageError, OutputError, SegpipeError
from segpipe.geometry import Grid
from segpipe.io.images import itk, nifti
from segpipe.io.quiet import quiet_libraries
from segpipe.system.files.atomic_write import atomic_write

_FORMATS = {".nii": nifti, ".nii.gz": nifti, ".nrrd": itk, ".mha": itk, ".mhd": itk}
SUFFIXES = tuple(_FORMATS)
_UNREADABLE: tuple[type[Exception], ...] = (OSError, EOFError, ValueError, ArithmeticError, *nifti.DAMAGED)
_UNREADABLE_HEADER: tuple[type[Exception], ...] = (SegpipeError, *_UNREADABLE)
_FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def read_volume(path: Path) -> Volume:
    """Reads a scan or a mask in the axis order of the file, with rescaling applied and the affine in RAS+.

    Returns:
        A volume whose array has native byte order; float64 becomes float32.

    Raises:
        ImageError: when the file is missing, damaged, of another format or not a 3-D image of plain numbers.
        GeometryError: when the affine is singular or not finite.
    """
    reader = _FORMATS[_suffix(path)]
    if not path.is_file():
        raise ImageError("the image file must exist", facts={"file": path, "found": "nothing there"})
    try:
        with quiet_libraries():
            array, affine = reader.read(path)
        array, affine = _squeeze(_plain_numbers(array), affine)
        shape = (array.shape[0], array.shape[1], array.shape[2])
        return Volume(array, Grid(shape, affine), path)
    except (GeometryError, ImageError) as error:
        raise error.with_facts(file=path) from error
    except _UNREADABLE as error:
        raise ImageError(
            "the image file cannot be read",
            facts={"file": path, "size": f"{path.stat().st_size} bytes", "found": _first_line(error)},
            hint="copy or export the file again; it may be truncated or not be what its name says",
        ) from error


def read_shape(path: Path) -> tuple[int, ...]:
    """Shape as the header has it, to plan with; () when the header is unreadable, which `read_volume` explains."""
    try:
        with quiet_libraries():
            return tuple(int(count) for count in _FORMATS[_suffix(path)].read_shape(path))
    except _UNREADABLE_HEADER:
        return ()


def read_grid(path: Path) -> Grid | None:
    """The grid as the header has it, for 3-D images; None when it is unreadable, which `read_volume` explains."""
    shape = read_shape(path)
    try:
        with quiet_libraries():
            affine = _FORMATS[_suffix(path)].read_affine(path)
        return Grid((shape[0], shape[1], shape[2]), affine) if len(shape) == 3 else None
    except _UNREADABLE_HEADER:
        return None


def write_volume(path: Path, array: NDArray[np.generic], grid: Grid) -> Path:
    """Writes an array under a temporary name and renames it, so that no half file is ever seen under `path`.

    Args:
        path: Its ending chooses the format; the folder is made.
        array: (x, y, z); masks become uint8, other integers the smallest of int16 and int32, floats float32.
        grid: The array's grid.

    Raises:
        GeometryError: when array and grid have different shapes.
        OutputError: when the file cannot be written, e.g. on a full disk.
    """
    write = _FORMATS[_suffix(path)].write
    return _write(path, array, grid, lambda part: write(part, _storable(array), grid.affine))


def write_steps(path: Path, steps: NDArray[np.uint8], grid: Grid, *, step: float) -> Path:
    """Writes an array as `write_volume` does, whose values count steps; readers see values times `step`.

    Args:
        path: A NIfTI file: the other formats cannot say what a step is.
        steps: (x, y, z).
        grid: The array's grid.
        step: What 1 stands for.

    Raises:
        GeometryError: when array and grid have different shapes.
        OutputError: when the file cannot be written, e.g. on a full disk.
    """
    return _write(path, steps, grid, lambda part: nifti.write(part, steps, grid.affine, step=step))


def list_volumes(folder: Path) -> list[Path]:
    """All image files right inside a folder, sorted by name; hidden files are left out."""
    names = (file for file in folder.iterdir() if not file.name.startswith("."))
    return sorted(file for file in names if file.is_file() and file.name.lower().endswith(SUFFIXES))


def volume_name(path: Path) -> str:
    """The file name without the ending of its format.

    >>> volume_name(Path("scans/case.01.nii.gz"))
    'case.01'
    """
    return path.name[: -len(_suffix(path))]


def _write(path: Path, array: NDArray[np.generic], grid: Grid, write: Callable[[Path], None]) -> Path:
    if array.shape != grid.shape:
        raise GeometryError("array and grid must have one shape", facts={"array": array.shape, "grid": grid})
    try:
        with atomic_write(path) as part, quiet_libraries():
            write(part)
    except OSError as error:
        raise _write_error(path, error) from error
    return path


def _suffix(path: Path) -> str:
    name = path.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return suffix
    raise ImageError("the image format is not known", facts={"file": path, "known": " ".join(SUFFIXES)})


def _plain_numbers(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype.kind not in "biuf":
        raise ImageError(
            "an image must have one number per voxel",
            facts={"found": f"voxels of type {array.dtype}"},
            hint="export the scan as HU, not as a colour picture",
        )
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which a case refuses
            return array.astype(np.float32, copy=False)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _squeeze(array: NDArray[np.generic], affine: NDArray[np.float64]) -> tuple[NDArray[np.generic], Any]:
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise ImageError(
            "a scan must be 3-D",
            facts={"found": f"{array.ndim}-D, " + "×".join(map(str, array.shape))},
            hint="give one volume per file: no single pictures, no time series, no colour channels",
        )
    if 0 in array.shape:
        raise ImageError("a scan must have voxels", facts={"found": "×".join(map(str, array.shape))})
    return array, affine


def _storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    kind = array.dtype.kind
    if kind == "f":
        return array.astype(np.float32, copy=False)
    if kind == "b" or array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    fits = array.size == 0 or (np.min(array) >= -(2**15) and np.max(array) < 2**15)
    return array.astype(np.int16 if fits else np.int32, copy=False)


def _write_error(path: Path, error: OSError) -> OutputError:
    full = error.errno in _FULL_DISK
    return OutputError(
        "there is no space left to write the file" if full else "the file cannot be written",
        facts={"file": path, "found": _first_line(error)},
        hint="free some disk space or choose another output folder; also check the rights on it",
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
