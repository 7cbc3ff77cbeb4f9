"""The frames of a segmentation with what is said of each, checked to be as many as the header claims."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from segpipe.errors import ImageError
from segpipe.io.dicom.series.pixels import ensure_transfer_syntax
from segpipe.io.dicom.series.planes import LONGEST_SIDE
from segpipe.io.dicom.values import items_of, whole_of

Pixels = NDArray[np.integer[Any]]


def iterate_frames(segmentation: Dataset) -> Iterator[tuple[Pixels, Dataset]]:
    """Each frame (row, column) with its own functional groups.

    Raises:
        ImageError: when there are more or fewer frames, or pixels, than the header claims.
    """
    ensure_transfer_syntax(segmentation)
    if max(whole_of(segmentation, "Rows"), whole_of(segmentation, "Columns")) > LONGEST_SIDE:
        raise _disagreement({"found": "frames larger than any slice of a CT"})
    groups = items_of(segmentation, "PerFrameFunctionalGroupsSequence")
    count = whole_of(segmentation, "NumberOfFrames")
    if not count or count != len(groups):
        raise _disagreement({"NumberOfFrames": count or "none", "frames described": len(groups)})
    if segmentation.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from zip(iter_pixels(segmentation), groups, strict=True)
        return
    bits = int(segmentation.BitsAllocated)
    _check_length(segmentation, count * int(segmentation.Rows) * int(segmentation.Columns) * bits)
    frames = _packed(segmentation, count) if bits == 1 else iter_pixels(segmentation)
    yield from zip(frames, groups, strict=True)


def _check_length(segmentation: Dataset, bits: int) -> None:
    """The pixels may be one byte longer than their bits, since values have an even length."""
    needed, found = (bits + 7) // 8, len(segmentation.PixelData)
    if not needed <= found <= needed + 1:
        raise _disagreement({"pixels": f"{found} bytes", "needed": f"{needed} bytes"})


def _disagreement(facts: dict[str, object]) -> ImageError:
    return ImageError(
        "the frames of the segmentation do not agree with its header",
        facts=facts,
        hint="export the segmentation again; the file may be truncated",
    )


def _packed(segmentation: Dataset, count: int) -> Iterator[Pixels]:
    """Frames of single bits, which follow each other without a gap: one may begin within a byte.

    Source: DICOM PS3.5, 8.1.1; pydicom's `iter_pixels` wants frames that begin with a byte.
    """
    packed = np.frombuffer(segmentation.PixelData, np.uint8)
    rows, columns = int(segmentation.Rows), int(segmentation.Columns)
    size = rows * columns
    for start in range(0, count * size, size):
        first, skipped = divmod(start, 8)
        bits = np.unpackbits(packed[first : (start + size + 7) // 8], bitorder="little")
        yield bits[skipped : skipped + size].reshape(rows, columns)
