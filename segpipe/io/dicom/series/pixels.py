"""Decodes the pixels of CT slices to HU, whatever their transfer syntax, sign and padding."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from segpipe.errors import ImageError
from segpipe.io.dicom.series import jpeg12 as dicom_jpeg12  # noqa: F401  # pydicom decodes 12-bit JPEG by it
from segpipe.io.dicom.series.jpeg_frames import JPEG, check_jpeg
from segpipe.io.dicom.series.planes import Plane
from segpipe.io.dicom.values import whole_of

PADDING_HU = -1024
_INT16 = np.iinfo(np.int16)


def decode_hu(dataset: Dataset, planes: Sequence[Plane]) -> list[NDArray[np.int16]]:
    """The slices of one file in HU, rounded to whole numbers, each (row, column).

    Pixels that carry the padding value lie outside the reconstruction and become -1024 HU.

    Raises:
        ImageError: when pixels are missing, cut short or cannot be decoded.
    """
    ensure_transfer_syntax(dataset)
    if whole_of(dataset, "NumberOfFrames") < 1:
        dataset.pop("NumberOfFrames", None)  # garbled or empty, and of no matter where there is one frame
    _check_decoder(dataset.file_meta.TransferSyntaxUID)
    return [_to_hu(_decode(dataset, plane), dataset, plane) for plane in planes]


def _decode(dataset: Dataset, plane: Plane) -> NDArray[Any]:
    count = max(1, whole_of(dataset, "NumberOfFrames"))
    try:
        if dataset.file_meta.TransferSyntaxUID in JPEG:
            frame = get_frame(dataset.PixelData, plane.frame if count > 1 else 0, number_of_frames=count)
            check_jpeg(frame, rows=plane.shape[0], columns=plane.shape[1])
        pixels = pixel_array(dataset, index=plane.frame if count > 1 else None)
    except Exception as error:  # each decoder fails in its own way
        raise ImageError(
            "the pixels of a slice cannot be decoded",
            facts={"transfer syntax": dataset.file_meta.TransferSyntaxUID.name, "found": type(error).__name__},
            hint="export the series again; the file may be cut short",
        ) from None
    if pixels.shape != plane.shape:
        facts = {"header": "×".join(map(str, plane.shape)), "pixels": "×".join(map(str, pixels.shape))}
        raise ImageError("the pixels of a slice do not have the size its header names", facts=facts)
    return np.asarray(pixels)


def _check_decoder(syntax: UID) -> None:
    if not has_decoder(syntax):
        raise ImageError(
            "no decoder for the pixels' transfer syntax is installed",
            facts={"transfer syntax": f"{syntax.name} ({syntax})" if syntax.name != syntax else syntax},
            hint="pip install python-gdcm pylibjpeg-openjpeg, or export the series uncompressed",
        )


def has_decoder(syntax: UID) -> bool:
    """True when pixels in a transfer syntax can be decoded here."""
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _to_hu(stored: NDArray[Any], dataset: Dataset, plane: Plane) -> NDArray[np.int16]:
    slope, intercept = plane.rescale
    whole = slope == 1 and float(intercept).is_integer()
    values = stored.astype(np.int32) + int(intercept) if whole else np.rint(stored * slope + intercept)
    values[_padding(stored, dataset)] = PADDING_HU
    return values.clip(_INT16.min, _INT16.max).astype(np.int16)


def _padding(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.bool_]:
    """True where a pixel carries the padding value or lies in the padding range (DICOM PS3.3 C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    bits = int(dataset.get("BitsAllocated", 16))
    signed = int(dataset.get("PixelRepresentation", 0)) == 1
    ends = [_as_stored(int(end), bits, signed) for end in (value, value if limit is None else limit)]
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(value: int, bits: int, signed: bool) -> int:
    """The value in the sign of the pixels; writers often give -2000 as 63536 or the other way round."""
    value %= 1 << bits
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value


def ensure_transfer_syntax(dataset: Dataset) -> None:
    """Bare data sets without a file header name no transfer syntax; they were read as what they are."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        implicit = dataset.original_encoding[0]
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.file_meta = meta
