"""Finds the CT series in whatever a hospital hands over, and reads one as a volume in HU."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from segpipe.case import Volume
from segpipe.errors import GeometryError, ImageError, SegpipeError
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
from segpipe.io.dicom.values import items_of, number_of, text_of
from segpipe.io.quiet import quiet_libraries

MIN_SLICES = 5
_ANNOTATIONS = {
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
}
_PERSON = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
_SERIES_TAGS = (
    *_PERSON,
    "SOPClassUID",
    "Modality",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "SpecificCharacterSet",
    "ConvolutionKernel",
    "SliceThickness",
    "BodyPartExamined",
    "Manufacturer",
    "DirectoryRecordSequence",
    "ReferencedSeriesSequence",
    "ReferencedFrameOfReferenceSequence",
)


@dataclass(frozen=True)
class Identity:
    """What identifies a series and its patient; it never appears in a message and has no readable repr.

    Args:
        patient_id: Of the patient.
        study_uid: Of the study.
        series_uid: Of the series; two patients can share it, where software numbered badly.
        frame_of_reference_uid: Of the space in which slices have their positions; empty where it is not given.
        person: Everything that tells patients and their studies apart.
    """

    patient_id: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    person: tuple[str, ...] = field(repr=False, default=())


_Members = dict[tuple[str, ...], tuple[Dataset, list[Plane]]]


@dataclass(frozen=True, eq=False)
class SeriesInfo:
    """A CT series as its headers describe it; no pixel has been read.

    Args:
        number: 1 for the first series found; names it in messages.
        planes: Its slices in the order of their files.
        identity: UIDs and patient id, for matching only.
        facts: Plain facts: kernel, manufacturer, slice thickness in mm, body part; empty where unknown.
    """

    number: int
    planes: tuple[Plane, ...]
    identity: Identity
    facts: dict[str, str | float]

    @property
    def files(self) -> tuple[DicomFile, ...]:
        """The files that hold its slices, each once."""
        return tuple(dict.fromkeys(plane.file for plane in self.planes))

    def __str__(self) -> str:
        rows, columns = self.planes[0].shape
        return f"series {self.number} ({len(self.planes)} slices of {columns}×{rows})"


@dataclass(frozen=True)
class Annotation:
    """An RTSTRUCT or DICOM SEG file and the series it refers to."""

    kind: str
    file: DicomFile
    series_uids: tuple[str, ...] = field(repr=False)
    frame_of_reference_uids: tuple[str, ...] = field(repr=False)
    patient_and_study: tuple[str, str] = field(repr=False, default=("", ""))

    def refers_to(self, series: SeriesInfo) -> bool:
        """True when it names the series, or, naming none at all, lies in its frame of reference."""
        if self.series_uids:
            return series.identity.series_uid in self.series_uids
        return series.identity.frame_of_reference_uid in self.frame_of_reference_uids


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
    headers = read_headers(files, tags=(*_SERIES_TAGS, *PLANE_TAGS), workers=workers)
    left_out: Counter[str] = Counter()
    annotations: list[Annotation] = []
    members: _Members = {}
    with quiet_libraries():  # values are converted when they are asked for
        for file, header in zip(files, headers, strict=True):
            if isinstance(header, str):
                left_out[header] += 1
            elif text_of(header, "SOPClassUID") in _ANNOTATIONS:
                annotations.append(_annotation(header, file))
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
        repair: Defects that may be mended, see `stack_planes`; `stack_series(…).repairs` tells which were.
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


def check_reference(series: SeriesInfo, *, named: Collection[str], spaces: Collection[str], what: str) -> None:
    """Checks that an object belongs to a series; what it or the series does not say is no contradiction.

    Args:
        series: The series.
        named: Series instance UIDs that the object names; empty ones do not count.
        spaces: Frame of reference UIDs that it names.
        what: The object, for messages.

    Raises:
        GeometryError: when it names other series, or other frames of reference.
    """
    known, frames = set(named) - {""}, set(spaces) - {""}
    if known and series.identity.series_uid not in known:
        raise GeometryError(f"the {what} was made on another series", hint=f"pass the series that the {what} refers to")
    own = series.identity.frame_of_reference_uid
    if frames and own and own not in frames:
        raise GeometryError(
            f"the {what} lies in another frame of reference than the series",
            hint=f"export series and {what} from one study, without registration in between",
        )


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
    members.setdefault((*_person(header), text_of(header, "SeriesInstanceUID")), (header, []))[1].extend(planes)


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
                series.append(SeriesInfo(len(series) + 1, tuple(group), _identity(header), _facts(header)))
            else:
                left_out[f"a slice of a series with fewer than {min_slices} like it"] += len(group)
    left_out += Counter()
    return series


def _same_uid(one: SeriesInfo, other: SeriesInfo) -> bool:
    return one.identity.series_uid == other.identity.series_uid


def _person(header: Dataset) -> tuple[str, ...]:
    return tuple(text_of(header, keyword).strip().casefold() for keyword in _PERSON)


def _identity(header: Dataset) -> Identity:
    names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    patient, study, series, frame = (text_of(header, name) for name in names)
    return Identity(patient, study, series, frame, person=_person(header))


def _facts(header: Dataset) -> dict[str, str | float]:
    """What is known of a series; a fact that is garbled is as one that is missing."""
    facts: dict[str, str | float | None] = {
        "kernel": text_of(header, "ConvolutionKernel"),
        "manufacturer": text_of(header, "Manufacturer"),
        "slice_thickness_mm": number_of(header, "SliceThickness"),
        "body_part": text_of(header, "BodyPartExamined"),
    }
    return {name: value for name, value in facts.items() if value}


def _annotation(header: Dataset, file: DicomFile) -> Annotation:
    frames = items_of(header, "ReferencedFrameOfReferenceSequence")
    studies = [study for frame in frames for study in items_of(frame, "RTReferencedStudySequence")]
    nested = [series for study in studies for series in items_of(study, "RTReferencedSeriesSequence")]
    named = [text_of(item, "SeriesInstanceUID") for item in [*items_of(header, "ReferencedSeriesSequence"), *nested]]
    spaces = [text_of(item, "FrameOfReferenceUID") for item in [*frames, header]]
    return Annotation(
        kind=_ANNOTATIONS[text_of(header, "SOPClassUID")],
        file=file,
        series_uids=tuple(filter(None, named)),
        frame_of_reference_uids=tuple(filter(None, spaces)),
        patient_and_study=(text_of(header, "PatientID"), text_of(header, "StudyInstanceUID")),
    )


def _no_series(left_out: Counter[str], min_slices: int) -> ImageError:
    found = {reason: f"{count} files" for reason, count in left_out.items()}
    if set(found) <= {NOT_DICOM}:
        hint = "pass a folder, a zip file or a DICOMDIR with CT images"
        return ImageError("no DICOM file found", facts=found or {"found": "an empty folder"}, hint=hint)
    return ImageError(
        "no CT series found", facts=found, hint=f"a series needs CT images of one orientation, at least {min_slices}"
    )
