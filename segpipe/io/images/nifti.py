"""NIfTI through nibabel, which already speaks RAS+."""

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from segpipe.io.images.header_claims import check_size

_ISAL_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # its stubs name an instance
DAMAGED: tuple[type[Exception], ...] = (
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    zlib.error,
    _ISAL_ERROR,
    struct.error,
)
_NIFTI_2_HEADER = {struct.pack("<i", 540), struct.pack(">i", 540)}
_CHUNK = 2**18  # bytes that stay in the processor's cache between unpacking and copying: 4 times as fast as all at once


def read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Reads voxels (rescaled where the header says so) and the affine in RAS+.

    Compressed files are read to their end, because only there gzip says whether a byte has changed.
    """
    with _open(path) as stream:
        image = _kind(stream).from_stream(stream)
        _check_size(image.header, path)
        array = _voxels(image.dataobj, stream)
        while stream.read(_CHUNK):
            pass
    return array, np.asarray(image.affine, dtype=np.float64)


def read_shape(path: Path) -> tuple[int, ...]:
    """Shape as the header has it; no voxel is read."""
    return tuple(_read_header(path).get_data_shape())


def read_affine(path: Path) -> NDArray[np.float64]:
    """The affine in RAS+ as the header has it; no voxel is read."""
    return np.asarray(_read_header(path).get_best_affine(), dtype=np.float64)


def write(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64], *, step: float = 1.0) -> None:
    """Writes voxels in mm with the affine as qform and sform, as scanner coordinates; `step` is what 1 stands for."""
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    if step != 1:
        image.header.set_slope_inter(step, 0)
    nibabel.save(image, path)


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _open(path: Path) -> Any:
    if _is_packed(path):
        return igzip.open(path)  # type: ignore[no-untyped-call]
    return path.open("rb")


def _read_header(path: Path) -> Any:
    with _open(path) as stream:
        header = _kind(stream).header_class.from_fileobj(stream)
    _check_size(header, path)
    return header


def _check_size(header: Any, path: Path) -> None:
    there, packed = path.stat().st_size, _is_packed(path)
    check_size(header.get_data_shape(), header.get_data_dtype().itemsize, there=there, packed=packed)


def _kind(stream: Any) -> Any:
    kind = nibabel.Nifti2Image if stream.read(4) in _NIFTI_2_HEADER else nibabel.Nifti1Image
    stream.seek(0)
    return kind


def _voxels(proxy: Any, stream: Any) -> NDArray[np.generic]:
    """Voxels with slope and intercept applied; whole numbers that fit stay int16, a quarter of nibabel's float64."""
    if proxy.dtype.kind not in "iu" or proxy.slope != 1 or not float(proxy.inter).is_integer():
        return np.asanyarray(proxy)
    raw, offset = _unscaled(proxy, stream), int(proxy.inter)
    if not offset or not raw.size or raw.min() + float(offset) < -(2**15) or raw.max() + float(offset) >= 2**15:
        return np.asanyarray(raw if not offset else raw + float(offset))
    return np.asarray(np.add(raw, offset, dtype=np.int16, casting="unsafe"))


def _unscaled(proxy: Any, stream: Any) -> NDArray[Any]:
    """Voxels as they are in the file, read straight into their array."""
    array = np.empty(proxy.shape, dtype=proxy.dtype, order="F")
    left = array.reshape(-1, order="F").view(np.uint8).data
    stream.seek(proxy.offset)
    while left:
        count = stream.readinto(left[:_CHUNK])
        if not count:
            raise EOFError(f"the file ends {len(left)} bytes before its last voxel")
        left = left[count:]
    return array
