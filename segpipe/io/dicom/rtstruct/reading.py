"""Reads the contours of a radiotherapy structure set as masks on the grid of the series they were drawn on."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from segpipe.errors import ConfigError, GeometryError, ImageError, LabelError, SegpipeError
from segpipe.geometry import flip_ras_lps, to_voxel
from segpipe.io.dicom.rtstruct.contours import fill_contours
from segpipe.io.dicom.series.files import DicomFile, map_files
from segpipe.io.dicom.series.series import SeriesInfo, stack_series
from segpipe.io.dicom.series.stack import Stack, assemble

FloatArray = NDArray[np.float64]
_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
_SAME_PLANE = 0.02  # of the slice distance


@dataclass(frozen=True)
class Roi:
    """One region of interest: its name and its closed contours, each (n, 3) in mm, LPS+."""

    name: str
    contours: tuple[FloatArray, ...]


def read_rtstruct(
    path: Path | DicomFile, series: SeriesInfo, *, roi: str = ".*", repair: Collection[str] = ()
) -> dict[str, NDArray[np.uint8]]:
    """Fills the contours of a structure set slice by slice, holes by the even-odd rule.

    Args:
        path: The RTSTRUCT file.
        series: The series it refers to.
        roi: Regular expression that the whole name of a region must match; case does not count.
        repair: As given to `read_series`.

    Returns:
        Name → mask (0 and 1) on the grid that `read_series` gives.

    Raises:
        GeometryError: when the contours belong to another series, another frame, lie outside or across the slices.
        LabelError: when no region with contours has a name that matches.
        ConfigError: when `roi` is no regular expression.
    """
    stack = stack_series(series, repair=repair)
    try:
        rois = _chosen(read_rois(path, series), roi)
        return {region.name: _rasterise(region, stack) for region in rois}
    except SegpipeError as error:
        raise error.with_facts(series=series) from None


def read_rois(path: Path | DicomFile, series: SeriesInfo) -> list[Roi]:
    """The regions of a structure set and their contours; regions without closed contours are left out.

    Raises:
        GeometryError: when the file refers to another series or frame of reference.
        ImageError: when the file is no RTSTRUCT.
    """
    file = path if isinstance(path, DicomFile) else DicomFile(path)
    if not file.path.is_file():
        raise ImageError("the structure set does not exist", facts={"file": file.path})
    (dataset,) = map_files([file], lambda _, whole: whole)
    if str(dataset.get("Modality")) != "RTSTRUCT":
        facts = {"modality": dataset.get("Modality") or "none"}
        raise ImageError("the file is no structure set (RTSTRUCT)", facts=facts)
    _check_reference(dataset, series)
    drawn: dict[int, list[FloatArray]] = {}
    for item in dataset.get("ROIContourSequence") or []:
        drawn.setdefault(int(item.ReferencedROINumber), []).extend(_closed_contours(item))
    names = _unique((int(item.ROINumber), str(item.ROIName)) for item in dataset.get("StructureSetROISequence") or [])
    return [Roi(name, tuple(drawn[number])) for number, name in names.items() if drawn.get(number)]


def _unique(names: Iterable[tuple[int, str]]) -> dict[int, str]:
    """ROI number → name; a name that comes again gets its number behind it."""
    unique: dict[int, str] = {}
    for number, name in names:
        unique[number] = f"{name} ({number})" if name in unique.values() else name
    return unique


def _check_reference(dataset: Dataset, series: SeriesInfo) -> None:
    frames = dataset.get("ReferencedFrameOfReferenceSequence") or []
    studies = [study for frame in frames for study in frame.get("RTReferencedStudySequence") or []]
    named = [str(item.SeriesInstanceUID) for study in studies for item in study.get("RTReferencedSeriesSequence") or []]
    if named and series.identity.series_uid not in named:
        raise GeometryError(
            "the structure set was drawn on another series", hint="pass the series that the structure set refers to"
        )
    items = dataset.get("StructureSetROISequence") or []
    frame_uids = {str(item.get("ReferencedFrameOfReferenceUID") or "") for item in items} - {""}
    if frame_uids and series.identity.frame_of_reference_uid not in frame_uids:
        raise GeometryError(
            "the structure set lies in another frame of reference than the series",
            hint="export series and structure set from one study, without registration in between",
        )


def _closed_contours(item: Dataset) -> list[FloatArray]:
    contours = item.get("ContourSequence") or []
    closed = [contour for contour in contours if str(contour.get("ContourGeometricType")) in _CLOSED]
    return [np.array(contour.ContourData, dtype=np.float64).reshape(-1, 3) for contour in closed]


def _chosen(rois: list[Roi], pattern: str) -> list[Roi]:
    try:
        matches = re.compile(pattern, re.IGNORECASE).fullmatch
    except re.error as error:
        raise ConfigError("the ROI pattern is no regular expression", facts={"roi": pattern, "found": error}) from None
    chosen = [roi for roi in rois if matches(roi.name)]
    if not chosen:
        known = ", ".join(roi.name for roi in rois) or "none with contours"
        raise LabelError(
            "no region of the structure set matches",
            facts={"roi": pattern, "known": known},
            hint="choose another --roi",
        )
    return chosen


def _rasterise(roi: Roi, stack: Stack) -> NDArray[np.uint8]:
    columns, rows, _ = stack.grid.shape
    slices = np.zeros((len(stack.planes), rows, columns), dtype=np.uint8).transpose(2, 1, 0)
    planes: dict[float, list[FloatArray]] = {}
    for contour in roi.contours:
        points = to_voxel(stack.grid.affine, flip_ras_lps(contour))
        planes.setdefault(_place(points, stack, roi.name), []).append(points[:, :2])
    for place, contours in planes.items():
        number = int(np.abs(stack.places - place).argmin())
        if abs(stack.places[number] - place) <= 0.5:
            slices[:, :, number] |= fill_contours(contours, (columns, rows))
    return np.asarray(assemble(stack, slices, mask=True), dtype=np.uint8)


def _place(points: FloatArray, stack: Stack, name: str) -> float:
    """Where on the third axis a contour lies; equal for all contours of one plane."""
    place, thickness = float(points[:, 2].mean()), float(np.ptp(points[:, 2]))
    if thickness > 0.5:
        raise GeometryError(
            "a contour is not parallel to the slices",
            facts={"roi": name, "found": f"it spans {thickness:.1f} slices"},
            hint="export the structure set with contours on the slices of the series",
        )
    if not -0.5 <= place <= stack.places[-1] + 0.5:
        raise GeometryError(
            "a contour lies outside the series",
            facts={"roi": name, "found": f"slice {place + 1:.1f} of {len(stack.places)}"},
            hint="pass the series that the structure set was drawn on",
        )
    return round(place / _SAME_PLANE) * _SAME_PLANE
