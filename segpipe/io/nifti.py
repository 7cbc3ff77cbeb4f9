"""NIfTI through nibabel, which already speaks RAS+."""

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

DAMAGED = (ImageFileError, HeaderDataError, WrapStructError, zlib.error, struct.error)
_NIFTI_2_HEADER = {struct.pack("<i", 540), struct.pack(">i", 540)}
_CHUNK = 2**20


def read(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Reads voxels (rescaled where the header says so) and the affine in RAS+.

    Compressed files are read to their end, because only there gzip tells whether a byte has changed.
    """
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        kind: Any = nibabel.Nifti2Image if stream.read(4) in _NIFTI_2_HEADER else nibabel.Nifti1Image
        stream.seek(0)
        image = kind.from_stream(stream)
        array = np.asanyarray(image.dataobj)
        while stream.read(_CHUNK):
            pass
    return array, np.asarray(image.affine, dtype=np.float64)


def write(path: Path, array: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    """Writes voxels in mm with the affine as qform and sform, as scanner coordinates."""
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
