"""Finds the CT series in whatever a hospital hands over, and reads one as a volume in HU."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from segpipe.case import Volume
from segpipe.errors import ImageError, SegpipeError
from segpipe.io.dicom.series.description import (
    ANNOTATIONS,
    SERIES_TAGS,
    Annotation,
    SeriesInfo,
    annotation_of,
    facts_of,
    identity_of,
    person_of,
)
from segpipe.io.dicom.series.files import DAMAGED, NOT_DICOM, DicomFile, list_files, map_files, read_headers
from segpipe.io.dicom.series.pixels import decode_hu
from segpipe.io.dicom.series.planes import (
    CT_IMAGE,
    ENHANCED_CT,
    PLANE_TAGS,
    Plane,
    UnusablePlaneError,
    group_planes,
    planes_of,
)
from segpipe.io.dicom.series.stack import Stack, assemble, stack_planes
from segpipe.io.dicom.values import text_of
from segpipe.io.quiet import quiet_libraries

MIN_SLICES = 5
_Members = dict[tuple[str, ...], tuple[Dataset, list[Plane]]]


@dataclass(frozen=True)
class SeriesScan:
    """What a folder, zip or DICOMDIR holds.

    Args:
        series: The CT series, in the order of their first files.
        annotations: RTSTRUCT and SEG files.
        left_out: Reason → count of files or slices that were not taken.
    """

    series: tuple[SeriesInfo, ...]
    annotations: tuple[Annotation, ...]
    left_out: dict[str, int]

    def annotations_of(self, series: SeriesInfo) -> tuple[Annotation, ...]:
        """The annotations that refer to a series; where two patients share its UID, those of its own patient."""
        found = tuple(annotation for annotation in self.annotations if annotation.refers_to(series))
        people = {other.identity.person for other in self.series if _same_uid(other, series)}
        if len(people) < 2:
            return found
        own = series.identity.patient_id, series.identity.study_uid
        return tuple(annotation for annotation in found if annotation.patient_and_study == own)

    @property
    def shared_uids(self) -> int:
        """How many series have a UID that slices of another patient or study have, too."""
        return sum(
            any(_same_uid(one, other) and one.identity.person != other.identity.person for other in self.series)
            for one in self.series
        )


def find_series(path: Path, *, min_slices: int = MIN_SLICES, workers: int = 4) -> SeriesScan:
    """Finds the CT series in a folder tree (with or without zip files), a zip file or a DICOMDIR, by headers alone.

    Raises:
        ImageError: when the path does not exist, is damaged, or holds no CT series of `min_slices` slices.
    """
    files = list_files(path)
    headers = read_headers(files, tags=(*SERIES_TAGS, *PLANE_TAGS), workers=workers)
    left_out: Counter[str] = Counter()
    annotations: list[Annotation] = []
    members: _Members = {}
    with quiet_libraries():  # values are converted when they are asked for
        for file, header in zip(files, headers, strict=True):
            if isinstance(header, str):
                left_out[header] += 1
            elif text_of(header, "SOPClassUID") in ANNOTATIONS:
                annotations.append(annotation_of(header, file))
            else:
                _sort_in(header, file, members, left_out)
        series = _as_series(members.values(), min_slices, left_out)
    if not series:
        raise _no_series(left_out, min_slices)
    return SeriesScan(tuple(series), tuple(annotations), dict(left_out))


def stack_series(series: SeriesInfo, *, repair: Collection[str] = ()) -> Stack:
    """The regular grid of a series, from its headers; see `stack_planes`.

    Raises:
        GeometryError: when its slices form no regular grid.
    """
    try:
        return stack_planes(series.planes, repair=repair)
    except SegpipeError as error:
        raise error.with_facts(series=series) from None


def read_series(series: SeriesInfo, *, repair: Collection[str] = (), workers: int = 4) -> Volume:
    """Reads a series as int16 HU (x, y, z): columns, rows, slices ascending along the normal; affine in RAS+.

    Args:
        series: As found.
        repair: Defects that may be mended, see `stack_planes`; `stack_series(…).repairs` says which were.
        workers: Threads that read and decode.

    Raises:
        GeometryError: when its slices form no regular grid.
        ImageError: when pixels cannot be decoded.
    """
    stack = stack_series(series, repair=repair)
    try:
        slices = _read_slices(stack.planes, workers)
    except SegpipeError as error:
        raise error.with_facts(series=series) from None
    return Volume(assemble(stack, slices), stack.upright)


def read_source_datasets(series: SeriesInfo, *, repair: Collection[str] = (), workers: int = 4) -> list[Dataset]:
    """The headers (no pixels) of a series' files in the order of `stack_series`, for objects that refer to them."""
    stack = stack_series(series, repair=repair)
    files = tuple(dict.fromkeys(plane.file for plane in stack.planes))
    return list(map_files(files, lambda _, header: header, pixels=False, workers=workers))


def _read_slices(planes: Sequence[Plane], workers: int) -> NDArray[np.int16]:
    """Pixels (column, row, slice) in the order of `planes`."""
    rows, columns = planes[0].shape
    slices = np.empty((len(planes), rows, columns), dtype=np.int16)
    wanted: dict[DicomFile, list[int]] = {}
    for number, plane in enumerate(planes):
        wanted.setdefault(plane.file, []).append(number)

    def decode(file: DicomFile, dataset: Dataset) -> list[NDArray[np.int16]]:
        return decode_hu(dataset, [planes[number] for number in wanted[file]])

    decoded = map_files(tuple(wanted), decode, workers=workers)
    for numbers, pixels in zip(wanted.values(), decoded, strict=True):
        slices[numbers] = pixels
    return slices.transpose(2, 1, 0)


def _sort_in(header: Dataset, file: DicomFile, members: _Members, left_out: Counter[str]) -> None:
    """Adds the slices of a file to its series, or counts why there are none."""
    reason = _foreign(header)
    if reason is not None:
        left_out[reason] += 1
        return
    try:
        planes = planes_of(header, file)
    except UnusablePlaneError as error:
        left_out[str(error)] += 1
        return
    # never the series UID alone: software that numbers badly gives one to two patients
    members.setdefault((*person_of(header), text_of(header, "SeriesInstanceUID")), (header, []))[1].extend(planes)


def _foreign(header: Dataset) -> str | None:
    """Why a file is no CT image, or None."""
    kind = text_of(header, "SOPClassUID")
    if not kind:
        is_directory = "DirectoryRecordSequence" in header
        return "a DICOMDIR" if is_directory else DAMAGED
    if kind not in (CT_IMAGE, *ENHANCED_CT):
        name = UID(kind).name
        return "an object of an unknown kind" if name == kind else f"{name.removesuffix(' Storage')}, no CT image"
    modality = text_of(header, "Modality") or "CT"
    if modality == "CT":
        return None
    return f"modality {modality}, not CT" if re.fullmatch("[A-Z]{2}", modality) else "a modality that is not CT"


def _as_series(
    members: Collection[tuple[Dataset, list[Plane]]], min_slices: int, left_out: Counter[str]
) -> list[SeriesInfo]:
    series: list[SeriesInfo] = []
    for header, planes in members:
        unique = list({(plane.uid, plane.frame): plane for plane in reversed(planes)}.values())[::-1]
        left_out["a copy of a slice already found"] += len(planes) - len(unique)
        for group in group_planes(unique):
            if len(group) >= min_slices:
                series.append(SeriesInfo(len(series) + 1, tuple(group), identity_of(header), facts_of(header)))
            else:
                left_out[f"a slice of a series with fewer than {min_slices} like it"] += len(group)
    left_out += Counter()
    return series


def _same_uid(one: SeriesInfo, other: SeriesInfo) -> bool:
    return one.identity.series_uid == other.identity.series_uid


def _no_series(left_out: Counter[str], min_slices: int) -> ImageError:
    found = {reason: f"{count} files" for reason, count in left_out.items()}
    if set(found) <= {NOT_DICOM}:
        hint = "pass a folder, a zip file or a DICOMDIR with CT images"
        return ImageError("no DICOM file found", facts=found or {"found": "an empty folder"}, hint=hint)
    return ImageError(
        "no CT series found", facts=found, hint=f"a series needs CT images of one orientation, at least {min_slices}"
    )
