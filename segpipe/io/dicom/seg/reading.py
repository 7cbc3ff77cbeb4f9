"""Reads DICOM segmentations (binary, fractional and label map) onto the grid of the series they refer to."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from segpipe.errors import ConfigError, GeometryError, ImageError, LabelError, SegpipeError
from segpipe.geometry import Grid, flip_ras_lps, to_voxel
from segpipe.io.dicom.seg.frames import iterate_frames
from segpipe.io.dicom.series.description import SeriesInfo, check_reference
from segpipe.io.dicom.series.files import DicomFile, map_files, reading
from segpipe.io.dicom.series.planes import Location, UnusablePlaneError, locate_frame
from segpipe.io.dicom.series.series import stack_series
from segpipe.io.dicom.series.stack import Stack, assemble_mask
from segpipe.io.dicom.values import items_of, number_of, text_of

FloatArray = NDArray[np.float64]
PROBABILITY_THRESHOLD = 0.5
_SEG_CLASSES = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
_OFF_GRID = 0.1  # of a pixel, and of the slice distance


@dataclass(frozen=True, eq=False)
class _Frame:
    """What one frame shows of one segment: its label, region (column, row) and place."""

    label: str
    region_xy: NDArray[np.bool_]
    location: Location


def read_dicom_seg(
    path: Path | DicomFile, series: SeriesInfo, *, segment: str = ".*", repair: Collection[str] = ()
) -> dict[str, NDArray[np.uint8]]:
    """Puts the segments of a DICOM SEG on the grid of a series, without resampling.

    Args:
        path: The SEG file.
        series: The series it refers to.
        segment: Regular expression that the whole label of a segment must match; case does not count. Where several
            segments have one label, they are united.
        repair: As given to `read_series`.

    Returns:
        Segment label → mask (0 and 1) on the grid that `read_series` gives; fractions of 0.5 and above count.

    Raises:
        GeometryError: when the segments refer to another series, lie on another grid or between the slices.
        LabelError: when no segment has a label that matches.
        ImageError: when the file is no DICOM SEG, or damaged.
        ConfigError: when `segment` is no regular expression.
    """
    stack = stack_series(series, repair=repair)
    try:
        with reading("segmentation"):
            segmentation = _read(path)
            _check_reference(segmentation, series)
            chosen = _chosen(segmentation, segment)
            masks = _on_one_grid(list(_frames(segmentation, chosen)), stack)
            return {label: masks.get(label, _empty(stack)) for label in dict.fromkeys(chosen.values())}
    except SegpipeError as error:
        raise error.with_facts(series=series) from None


def read_segment_labels(path: Path | DicomFile) -> list[str]:
    """The labels of all segments, in the order of the file.

    Raises:
        ImageError: when the file is no DICOM SEG.
    """
    with reading("segmentation"):
        return list(dict.fromkeys(_labels(_read(path)).values()))


def _read(path: Path | DicomFile) -> Dataset:
    file = path if isinstance(path, DicomFile) else DicomFile(path)
    if not file.path.is_file():
        raise ImageError("the segmentation does not exist", facts={"file": file.path})
    (dataset,) = map_files([file], lambda _, whole: whole)
    if text_of(dataset, "SOPClassUID") not in _SEG_CLASSES:
        raise ImageError("the file is no DICOM segmentation (SEG)", facts={"modality": "another or none"})
    return dataset


def _check_reference(segmentation: Dataset, series: SeriesInfo) -> None:
    named = [text_of(item, "SeriesInstanceUID") for item in items_of(segmentation, "ReferencedSeriesSequence")]
    check_reference(series, named=named, spaces=[text_of(segmentation, "FrameOfReferenceUID")], what="segmentation")


def _chosen(segmentation: Dataset, pattern: str) -> dict[int, str]:
    """Segment number → label of the segments whose label matches."""
    try:
        matches = re.compile(pattern, re.IGNORECASE).fullmatch
    except re.error as error:
        facts = {"segment": pattern, "found": error}
        raise ConfigError("the segment pattern is no regular expression", facts=facts) from None
    labels = _labels(segmentation)
    chosen = {key: label for key, label in labels.items() if matches(label)}
    if not chosen:
        facts = {"segment": pattern, "known": ", ".join(dict.fromkeys(labels.values())) or "none"}
        raise LabelError("no segment has a label that matches", facts=facts)
    return chosen


def _labels(segmentation: Dataset) -> dict[int, str]:
    """Segment number → label; 0 is the background of a label map."""
    numbers = {number_of(item, "SegmentNumber"): item for item in items_of(segmentation, "SegmentSequence")}
    return {int(key): text_of(item, "SegmentLabel") or f"segment {int(key)}" for key, item in numbers.items() if key}


def _frames(segmentation: Dataset, chosen: Mapping[int, str]) -> Iterator[_Frame]:
    """What the frames show of the chosen segments, without the empty ones."""
    shared = items_of(segmentation, "SharedFunctionalGroupsSequence")
    is_map = text_of(segmentation, "SegmentationType") == "LABELMAP"
    enough = PROBABILITY_THRESHOLD * _most(segmentation)
    for pixels, frame in iterate_frames(segmentation):
        groups = [frame, *shared]
        for key in chosen if is_map else {_segment_number(groups)} & set(chosen):
            region = pixels == key if is_map else pixels >= enough
            if region.any():
                yield _Frame(chosen[key], region.T, _locate(groups))


def _most(segmentation: Dataset) -> float:
    """The number that stands for 1."""
    if text_of(segmentation, "SegmentationType") != "FRACTIONAL":
        return 2.0  # so that half of it is 1
    most = number_of(segmentation, "MaximumFractionalValue")
    if not most or most < 0:
        raise ImageError("a fractional segmentation must have a MaximumFractionalValue")
    return most


def _segment_number(groups: Sequence[Dataset]) -> int:
    found = [item for group in groups for item in items_of(group, "SegmentIdentificationSequence")]
    key = number_of(found[0], "ReferencedSegmentNumber") if found else None
    if key is None:
        raise ImageError("each frame of a segmentation must name its segment", hint="export the segmentation again")
    return int(key)


def _locate(groups: Sequence[Dataset]) -> Location:
    try:
        return locate_frame(groups)
    except UnusablePlaneError as error:
        raise ImageError("a frame of the segmentation has no place", facts={"found": error}) from None


def _empty(stack: Stack) -> NDArray[np.uint8]:
    return assemble_mask(stack, {})


def _on_one_grid(frames: Sequence[_Frame], stack: Stack) -> dict[str, NDArray[np.uint8]]:
    """Label → mask. Frames may lie on the slices of the series or, all of them, on those of its mended grid."""
    try:
        return _masks(frames, stack)
    except GeometryError:
        if not stack.repairs:
            raise
        try:
            places = np.arange(stack.upright.shape[2], dtype=np.float64)
            return _masks(frames, replace(stack, grid=stack.upright, places=places))
        except GeometryError:
            pass
        raise


def _masks(frames: Sequence[_Frame], stack: Stack) -> dict[str, NDArray[np.uint8]]:
    placed = [_put(frame, stack.grid) for frame in frames]
    _check_slices([place for place, _ in placed], stack)
    drawn: dict[str, dict[float, NDArray[np.bool_]]] = {}
    for frame, (place, region) in zip(frames, placed, strict=True):
        nearest = float(stack.places[np.abs(stack.places - place).argmin()])
        own = drawn.setdefault(frame.label, {})
        own[nearest] = region | own[nearest] if nearest in own else region
    return {label: assemble_mask(stack, regions) for label, regions in drawn.items()}


def _check_slices(places: Sequence[float], stack: Stack) -> None:
    """No frame may be lost because it lies between slices.

    Raises:
        GeometryError: with the largest distance.
    """
    apart = np.array([np.abs(stack.places - place).min() for place in places])
    off = apart > _OFF_GRID
    if not off.any():
        return
    distance = stack.grid.spacing_mm[2]
    raise GeometryError(
        "the segmentation does not lie on the slices of the series",
        facts={
            "found": f"{off.sum()} of {len(apart)} frames are {apart[off].min() * distance:.2f} to "
            f"{apart.max() * distance:.2f} mm off the nearest slice",
            "slice distance": f"{distance:.3f} mm",
        },
        hint="pass the series it was made on, or resample it to the slices of this one",
    )


def _put(frame: _Frame, grid: Grid) -> tuple[float, NDArray[np.bool_]]:
    """The slice that a frame lies on, and its region there, turned or mirrored as its directions say."""
    origin, to_column, to_row = _in_voxels(frame.location, grid)
    points = origin + np.argwhere(frame.region_xy) @ np.stack([to_column, to_row])
    columns, rows = np.rint(points[:, :2]).astype(np.int64).T
    ends = np.array(grid.shape) - 0.5
    if not ((points > -0.5) & (points < ends)).all():
        raise GeometryError(
            "the segmentation reaches beyond the series",
            facts={"found": f"a region on slice {origin[2] + 1:.1f} of {grid.shape[2]}"},
            hint="pass the series it was made on",
        )
    region = np.zeros(grid.shape[:2], dtype=bool)
    region[columns, rows] = True
    return float(origin[2]), region


def _in_voxels(location: Location, grid: Grid) -> tuple[FloatArray, FloatArray, FloatArray]:
    """First pixel of a frame and its steps along a row and a column, in voxels of the series.

    Raises:
        GeometryError: when the frame's pixels are not voxels of the series.
    """
    steps = location.directions * np.array(location.spacing_mm)[:, None]
    corners = location.position_mm + np.concatenate([np.zeros((1, 3)), steps])
    origin, column, row = to_voxel(grid.affine, flip_ras_lps(corners))
    to_column, to_row = column - origin, row - origin
    turned = np.abs(np.stack([to_column, to_row]))
    offset = np.abs(origin[:2] - np.rint(origin[:2])).max()
    straight = np.allclose(turned.max(axis=1), 1, atol=1e-3) and np.allclose(turned.sum(axis=0), [1, 1, 0], atol=1e-3)
    if not straight or offset > _OFF_GRID:
        pixel = "×".join(f"{value:.3f}" for value in location.spacing_mm)
        raise GeometryError(
            "the segmentation lies on another grid than the series",
            facts={"pixel": f"{pixel} mm, {offset:.2f} of a pixel next to the series'", "grid": grid},
            hint="export the segmentation again on the grid of its series",
        )
    return origin, np.rint(to_column), np.rint(to_row)
