"""Reads DICOM segmentations (binary, fractional and label map) onto the grid of the series they refer to."""

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from segpipe.errors import ConfigError, GeometryError, ImageError, LabelError, SegpipeError
from segpipe.geometry import flip_ras_lps, to_voxel
from segpipe.io.dicom.series.files import DicomFile, map_files, quiet_pydicom
from segpipe.io.dicom.series.planes import Location, UnusablePlaneError, locate_frame
from segpipe.io.dicom.series.series import SeriesInfo, stack_series
from segpipe.io.dicom.series.stack import Stack, assemble

FloatArray = NDArray[np.float64]
PROBABILITY_THRESHOLD = 0.5
_SEG_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_OFF_GRID = 0.1  # of a pixel


def read_dicom_seg(
    path: Path | DicomFile, series: SeriesInfo, *, segment: str = ".*", repair: Collection[str] = ()
) -> dict[str, NDArray[np.uint8]]:
    """Puts the segments of a DICOM SEG on the grid of a series, without resampling.

    Args:
        path: The SEG file.
        series: The series it refers to.
        segment: Regular expression that the whole label of a segment must match; case does not count.
        repair: As given to `read_series`.

    Returns:
        Segment label → mask (0 and 1) on the grid that `read_series` gives; fractions of 0.5 and above count.

    Raises:
        GeometryError: when the segments refer to another series or lie on another grid.
        LabelError: when no segment has a label that matches.
        ImageError: when the file is no DICOM SEG.
    """
    stack = stack_series(series, repair=repair)
    try:
        segmentation = _read(path)
        _check_reference(segmentation, series)
        chosen = _chosen(segmentation, segment)
        masks = _masks(segmentation, stack, chosen)
    except UnusablePlaneError as error:
        raise ImageError("a frame of the segmentation has no place", facts={"series": series, "found": error}) from None
    except SegpipeError as error:
        raise error.with_facts(series=series) from None
    return {chosen[number]: np.asarray(assemble(stack, masks[number], mask=True), np.uint8) for number in chosen}


def read_segment_labels(path: Path | DicomFile) -> list[str]:
    """The labels of all segments, in the order of the file.

    Raises:
        ImageError: when the file is no DICOM SEG.
    """
    return list(_labels(_read(path)).values())


def _read(path: Path | DicomFile) -> Dataset:
    file = path if isinstance(path, DicomFile) else DicomFile(path)
    if not file.path.is_file():
        raise ImageError("the segmentation does not exist", facts={"file": file.path})
    (dataset,) = map_files([file], lambda _, whole: whole)
    if str(dataset.get("SOPClassUID")) not in _SEG_CLASSES:
        facts = {"modality": dataset.get("Modality") or "none"}
        raise ImageError("the file is no DICOM segmentation (SEG)", facts=facts)
    return dataset


def _check_reference(segmentation: Dataset, series: SeriesInfo) -> None:
    named = [str(item.SeriesInstanceUID) for item in segmentation.get("ReferencedSeriesSequence") or []]
    if named and series.identity.series_uid not in named:
        raise GeometryError("the segmentation was made on another series", hint="pass the series it refers to")
    frame = str(segmentation.get("FrameOfReferenceUID") or "")
    if frame and frame != series.identity.frame_of_reference_uid:
        raise GeometryError("the segmentation lies in another frame of reference than the series")


def _chosen(segmentation: Dataset, pattern: str) -> dict[int, str]:
    """Segment number → label of the segments whose label matches."""
    try:
        matches = re.compile(pattern, re.IGNORECASE).fullmatch
    except re.error as error:
        facts = {"segment": pattern, "found": error}
        raise ConfigError("the segment pattern is no regular expression", facts=facts) from None
    labels = _labels(segmentation)
    chosen = {number: label for number, label in labels.items() if matches(label)}
    if not chosen:
        facts = {"segment": pattern, "known": ", ".join(labels.values())}
        raise LabelError("no segment has a label that matches", facts=facts)
    return chosen


def _labels(segmentation: Dataset) -> dict[int, str]:
    """Segment number → label; 0 is the background of a label map, and a label that comes again gets its number."""
    labels: dict[int, str] = {}
    for item in segmentation.SegmentSequence:
        number, label = int(item.SegmentNumber), str(item.SegmentLabel)
        if number:
            labels[number] = f"{label} ({number})" if label in labels.values() else label
    return labels


def _masks(segmentation: Dataset, stack: Stack, chosen: Collection[int]) -> dict[int, NDArray[np.uint8]]:
    """Segment number → slices (column, row, slice) in the order of `stack.planes`."""
    columns, rows, _ = stack.grid.shape
    shape = (len(stack.planes), rows, columns)
    masks = {number: np.zeros(shape, dtype=np.uint8).transpose(2, 1, 0) for number in chosen}
    shared = list(segmentation.get("SharedFunctionalGroupsSequence") or [])
    kind = str(segmentation.SegmentationType)
    enough = PROBABILITY_THRESHOLD * float(segmentation.get("MaximumFractionalValue") or 2)
    for pixels, frame in zip(_frames(segmentation), segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        groups = [frame, *shared]
        numbers = chosen if kind == "LABELMAP" else {_segment_number(groups)} & set(chosen)
        for number in numbers:
            region = pixels == number if kind == "LABELMAP" else pixels >= enough
            _place(region.T, locate_frame(groups), stack, masks[number])
    return masks


def _frames(segmentation: Dataset) -> Iterator[NDArray[np.integer[Any]]]:
    with quiet_pydicom():
        yield from iter_pixels(segmentation)


def _segment_number(groups: Sequence[Dataset]) -> int:
    sequences = (group.get("SegmentIdentificationSequence") for group in groups)
    return int(next(sequence for sequence in sequences if sequence)[0].ReferencedSegmentNumber)


def _place(region_xy: NDArray[np.bool_], location: Location, stack: Stack, mask: NDArray[np.uint8]) -> None:
    """Adds a frame (column, row) to the slice it lies on, turned or mirrored as its directions say."""
    origin, to_column, to_row = _in_voxels(location, stack)
    picked = np.argwhere(region_xy)
    if not len(picked):
        return
    points = origin + picked @ np.stack([to_column, to_row])
    columns, rows = np.rint(points[:, :2]).astype(np.int64).T
    ends = np.array([*mask.shape[:2], stack.grid.shape[2]]) - 0.5
    if not ((points > -0.5) & (points < ends)).all():
        raise GeometryError(
            "the segmentation reaches beyond the series",
            facts={"found": f"a region on slice {origin[2] + 1:.1f} of {stack.grid.shape[2]}"},
            hint="pass the series it was made on",
        )
    apart = np.abs(stack.places - origin[2])
    if apart.min() <= _OFF_GRID:
        mask[columns, rows, int(apart.argmin())] = 1


def _in_voxels(location: Location, stack: Stack) -> tuple[FloatArray, FloatArray, FloatArray]:
    """First pixel of a frame and its steps along a row and a column, in voxels of the series.

    Raises:
        GeometryError: when the frame's pixels are not voxels of the series.
    """
    steps = location.directions * np.array(location.spacing_mm)[:, None]
    corners = location.position_mm + np.concatenate([np.zeros((1, 3)), steps])
    origin, column, row = to_voxel(stack.grid.affine, flip_ras_lps(corners))
    to_column, to_row = column - origin, row - origin
    turned = np.abs(np.stack([to_column, to_row]))
    offset = np.abs(origin[:2] - np.rint(origin[:2])).max()
    straight = np.allclose(turned.max(axis=1), 1, atol=1e-3) and np.allclose(turned.sum(axis=0), [1, 1, 0], atol=1e-3)
    if not straight or offset > _OFF_GRID:
        pixel = "×".join(f"{value:.3f}" for value in location.spacing_mm)
        raise GeometryError(
            "the segmentation lies on another grid than the series",
            facts={"pixel": f"{pixel} mm, {offset:.2f} of a pixel beside the series'", "grid": stack.grid},
            hint="export the segmentation again on the grid of its series",
        )
    return origin, np.rint(to_column), np.rint(to_row)
