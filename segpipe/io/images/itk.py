"""NRRD and MetaImage through SimpleITK, whose LPS+ and (z, y, x) become RAS+ and (x, y, z)."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import GeometryError
from segpipe.geometry import flip_ras_lps
from segpipe.io.images.header_claims import check_size, files_of
from segpipe.io.quiet import quiet_libraries


def read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Reads voxels and the affine in RAS+.

    Raises:
        GeometryError: when the file's directions are singular, which ITK refuses to load.
        ImageError: when its header names a file elsewhere.
        EOFError: when there are fewer voxels than its header claims.
        OSError: when ITK cannot read it, with the last thing it says.
    """
    import SimpleITK

    reader = _reader(path)
    try:
        with quiet_libraries():
            image = reader.Execute()
    except RuntimeError as error:
        raise _explain(error) from error
    array = SimpleITK.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        return np.moveaxis(array.T, 0, -1), np.eye(4)
    return array.T, _affine(image)


def read_shape(path: Path) -> tuple[int, ...]:
    """Shape as the header has it; no voxel is read."""
    return tuple(_reader(path).GetSize())


def read_affine(path: Path) -> NDArray[np.float64]:
    """The affine in RAS+ as the header has it; no voxel is read."""
    return _affine(_reader(path))


def write(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Writes voxels, compressed, with spacing, origin and directions taken from the affine.

    Raises:
        OSError: when ITK cannot write it.
    """
    import SimpleITK

    lps = flip_ras_lps(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    try:
        with quiet_libraries():
            SimpleITK.WriteImage(image, str(path), True)
    except RuntimeError as error:
        raise OSError(_itk_message(error)) from error


def _reader(path: Path) -> Any:
    """ITK's reader, which has read the header, once that is found to claim no more than there is."""
    import SimpleITK

    files, packed = files_of(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet_libraries():
            reader.ReadImageInformation()
            voxel = SimpleITK.Image([1] * reader.GetDimension(), reader.GetPixelID(), reader.GetNumberOfComponents())
    except RuntimeError as error:
        raise _explain(error) from error
    there = sum(file.stat().st_size for file in files)
    check_size(reader.GetSize(), SimpleITK.GetArrayViewFromImage(voxel).nbytes, there=there, packed=packed)
    return reader


def _explain(error: RuntimeError) -> Exception:
    if "determinant" in str(error) or "Zero-valued spacing" in str(error):
        return GeometryError(
            "the affine must be invertible; it is singular",
            hint="export the scan again with its orientation and spacing",
        )
    return OSError(_itk_message(error))


def _itk_message(error: RuntimeError) -> str:
    """The last line that says something; ITK adds addresses, and the reason it gives is that of an earlier call."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    return re.sub(r"^.*\(0x[0-9a-f]+\): |^sitk::ERROR: ", "", lines[-1])


def _affine(image: Any) -> NDArray[np.float64]:
    dimension = int(image.GetDimension())
    directions = np.array(image.GetDirection()).reshape(dimension, dimension)
    lps = np.eye(4)
    axes = min(dimension, 3)
    lps[:axes, :axes] = directions[:axes, :axes] * np.array(image.GetSpacing())[:axes]
    lps[:axes, 3] = np.array(image.GetOrigin())[:axes]
    return flip_ras_lps(lps)
