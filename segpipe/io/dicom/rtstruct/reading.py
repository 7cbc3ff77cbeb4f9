"""Reads the contours of a radiotherapy structure set as masks on the grid of the series they were drawn on."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from segpipe.errors import ConfigError, GeometryError, ImageError, LabelError, SegpipeError
from segpipe.geometry import flip_ras_lps, to_voxel
from segpipe.io.dicom.rtstruct.contours import Border, fill_region, runs_through_centres
from segpipe.io.dicom.series.description import SeriesInfo, check_reference
from segpipe.io.dicom.series.files import DicomFile, map_files, reading
from segpipe.io.dicom.series.series import stack_series
from segpipe.io.dicom.series.stack import Stack, assemble_mask
from segpipe.io.dicom.values import items_of, number_of, text_of

FloatArray = NDArray[np.float64]
Mask = NDArray[np.uint8]
_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}
_SAME_PLANE = 0.02  # of the slice distance


@dataclass(frozen=True, eq=False)
class Region:
    """A region of interest on the grid of its series.

    Args:
        name: As in the structure set; regions of one name are one.
        mask: 0 and 1.
        through_centres: Whether all its contours run through the centres of pixels, so that it is a traced mask.
    """

    name: str
    mask: Mask
    through_centres: bool


@dataclass(frozen=True, eq=False)
class _Drawn:
    """A region as the file holds it: its contours are read only when it is asked for."""

    name: str
    contours: Sequence[Dataset]


def read_rtstruct(
    path: Path | DicomFile,
    series: SeriesInfo,
    *,
    roi: str = ".*",
    repair: Collection[str] = (),
    border: Border = "auto",
) -> dict[str, Mask]:
    """The masks of `read_regions` by name."""
    return {region.name: region.mask for region in read_regions(path, series, roi=roi, repair=repair, border=border)}


def read_regions(
    path: Path | DicomFile,
    series: SeriesInfo,
    *,
    roi: str = ".*",
    repair: Collection[str] = (),
    border: Border = "auto",
) -> list[Region]:
    """Fills the contours of a structure set slice by slice, holes by the even-odd rule.

    Args:
        path: The RTSTRUCT file.
        series: The series it refers to.
        roi: Regular expression that the whole name of a region must match; case does not count. Where several
            regions have one name, they are united.
        repair: As given to `read_series`.
        border: Whether pixels whose centres lie on a contour belong to the region: `auto` includes them where every
            point of the region lies on a pixel's centre, and else counts those on the low side, as `fill_contours`.

    Returns:
        The regions on the grid that `read_series` gives.

    Raises:
        GeometryError: when the contours belong to another series, another frame, lie outside or across the slices.
        LabelError: when no region with contours has a name that matches.
        ImageError: when the file is no structure set, or a region that was asked for is damaged.
        ConfigError: when `roi` is no regular expression.
    """
    stack = stack_series(series, repair=repair)
    try:
        with reading("structure set"):
            chosen = _chosen(_read(path, series), roi)
            regions = [_rasterise(region, stack, border) for region in chosen]
            return _united(regions)
    except SegpipeError as error:
        raise error.with_facts(series=series) from None


def read_region_names(path: Path | DicomFile, series: SeriesInfo) -> list[str]:
    """The names of the regions that have closed contours.

    Raises:
        GeometryError: when the file refers to another series or frame of reference.
        ImageError: when the file is no structure set.
    """
    with reading("structure set"):
        return list(dict.fromkeys(region.name for region in _read(path, series)))


def _read(path: Path | DicomFile, series: SeriesInfo) -> list[_Drawn]:
    """The regions of a structure set in the series' frame; those without closed contours are left out."""
    file = path if isinstance(path, DicomFile) else DicomFile(path)
    if not file.path.is_file():
        raise ImageError("the structure set does not exist", facts={"file": file.path})
    (dataset,) = map_files([file], lambda _, whole: whole)
    if text_of(dataset, "Modality") != "RTSTRUCT":
        raise ImageError("the file is no structure set (RTSTRUCT)", facts={"modality": "another or none"})
    _check_reference(dataset, series)
    own = series.identity.frame_of_reference_uid
    drawn: dict[float | None, list[Dataset]] = {}
    for item in items_of(dataset, "ROIContourSequence"):
        closed = [one for one in items_of(item, "ContourSequence") if text_of(one, "ContourGeometricType") in _CLOSED]
        drawn.setdefault(number_of(item, "ReferencedROINumber"), []).extend(closed)
    here = [item for item in items_of(dataset, "StructureSetROISequence") if not own or _space(item) in (own, "")]
    listed = [(number_of(item, "ROINumber"), text_of(item, "ROIName")) for item in here]
    return [_Drawn(name, drawn[key]) for key, name in listed if key is not None and drawn.get(key)]


def _space(item: Dataset) -> str:
    """The frame of reference of a region."""
    return text_of(item, "ReferencedFrameOfReferenceUID")


def _check_reference(dataset: Dataset, series: SeriesInfo) -> None:
    frames = items_of(dataset, "ReferencedFrameOfReferenceSequence")
    studies = [study for frame in frames for study in items_of(frame, "RTReferencedStudySequence")]
    named = [
        text_of(item, "SeriesInstanceUID") for one in studies for item in items_of(one, "RTReferencedSeriesSequence")
    ]
    spaces = [_space(item) for item in items_of(dataset, "StructureSetROISequence")]
    check_reference(series, named=named, spaces=spaces, what="structure set")


def _chosen(regions: Sequence[_Drawn], pattern: str) -> list[_Drawn]:
    try:
        matches = re.compile(pattern, re.IGNORECASE).fullmatch
    except re.error as error:
        raise ConfigError("the ROI pattern is no regular expression", facts={"roi": pattern, "found": error}) from None
    chosen = [region for region in regions if matches(region.name)]
    if not chosen:
        known = ", ".join(dict.fromkeys(region.name for region in regions)) or "none with contours"
        raise LabelError(
            "no region of the structure set matches",
            facts={"roi": pattern, "known": known},
            hint="choose another --roi",
        )
    return chosen


def _united(regions: Sequence[Region]) -> list[Region]:
    """One region for each name."""
    united: dict[str, Region] = {}
    for region in regions:
        same = united.get(region.name)
        if same is not None:
            region = Region(region.name, region.mask | same.mask, region.through_centres or same.through_centres)
        united[region.name] = region
    return list(united.values())


def _rasterise(region: _Drawn, stack: Stack, border: Border) -> Region:
    columns, rows, _ = stack.grid.shape
    planes: dict[float, list[FloatArray]] = {}
    for contour in region.contours:
        points = to_voxel(stack.grid.affine, flip_ras_lps(_points(contour, region.name)))
        planes.setdefault(_place(points, stack, region.name), []).append(points[:, :2])
    through_centres = runs_through_centres([contour for contours in planes.values() for contour in contours])
    counts = {"auto": True if through_centres else None, "include": True, "exclude": False}[border]
    drawn: dict[float, NDArray[np.bool_]] = {}
    places = stack.all_places
    for place, contours in planes.items():
        nearest = float(places[np.abs(places - place).argmin()])
        filled = fill_region(contours, (columns, rows), border=counts)
        drawn[nearest] = filled | drawn[nearest] if nearest in drawn else filled
    return Region(region.name, assemble_mask(stack, drawn), through_centres)


def _points(contour: Dataset, name: str) -> FloatArray:
    """Points (n, 3) in mm, LPS+."""
    try:
        points = np.array([float(value) for value in contour.ContourData], dtype=np.float64).reshape(-1, 3)
    except Exception:  # as pydicom converts numbers when they are asked for, and fails in many ways
        points = np.empty((0, 3))
    if not len(points) or not np.isfinite(points).all():
        raise ImageError(
            "a contour has no points, or garbled ones",
            facts={"roi": name},
            hint="export the structure set again, or choose other regions with --roi",
        )
    return points


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
            facts={"roi": name, "found": f"slice {place + 1:.1f} of {stack.grid.shape[2]}"},
            hint="pass the series that the structure set was drawn on",
        )
    return round(place / _SAME_PLANE) * _SAME_PLANE
