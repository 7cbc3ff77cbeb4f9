"""Writes findings as a radiotherapy structure set: closed contours on the slices of their series."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from segpipe.errors import OutputError
from segpipe.geometry import FloatArray, flip_ras_lps, to_world
from segpipe.io.dicom.objects import (
    MANUFACTURER,
    SERIES_NUMBER,
    Derivation,
    FindingMap,
    cut_text,
    finding_name,
    in_upright_slices,
    numbers_by_slice,
    read_sources,
    save,
    writing,
)
from segpipe.io.dicom.rtstruct.contours import trace_mask
from segpipe.labels import Label

_PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "SpecificCharacterSet",
)
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"


def write_rtstruct(path: Path, findings: Sequence[FindingMap], *, derivation: Derivation) -> Path:
    """Writes each finding as a region; a contour inside another one is a hole (even-odd).

    Args:
        path: Replaced whole or not at all.
        findings: Where the findings of each class are.
        derivation: Series, classes and model.

    Raises:
        OutputError: when there is no finding or the disk is full.
        ImageError: when the headers of the series are incomplete.
        GeometryError: when `findings` is on another grid.
    """
    maps = [(found.label, in_upright_slices(found.numbers, derivation)) for found in findings]
    if not any(slices.any() for _, slices in maps):
        raise OutputError("a structure set must hold a finding", hint="a report (dicom-sr) can say that there is none")
    with writing():
        sources = read_sources(derivation)
        structures = _header(sources[0], derivation)
        _refer_to(sources, structures)
        references = _references(sources, derivation)
        affine_lps = flip_ras_lps(derivation.stack.upright.affine)
        for label, slices in maps:
            for number, lines in _trace(slices):
                contours = [_contour(line, place, affine_lps, references.get(place)) for place, line in lines]
                _add_region(structures, number, label, contours)
    return save(structures, path)


def _trace(slices: NDArray[np.integer[Any]]) -> Iterator[tuple[int, list[tuple[int, FloatArray]]]]:
    """Each finding's number with its contours, each with its slice."""
    shown = numbers_by_slice(slices)
    for number in sorted({number for here in shown.values() for number in here}):
        places = [place for place, here in shown.items() if number in here]
        yield number, [(place, line) for place in places for line in trace_mask((slices[place] == number).T)]


def _header(source: Dataset, derivation: Derivation) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = derivation.uid("RTSTRUCT", "instance")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    for name in _PATIENT_AND_STUDY:
        if name in source:
            setattr(dataset, name, source[name].value)
    now, maker = datetime.now(UTC), derivation.maker
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.InstanceCreationDate = dataset.StructureSetDate = now.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.StructureSetTime = now.strftime("%H%M%S")
    dataset.Modality, dataset.OperatorsName = "RTSTRUCT", ""
    dataset.SeriesInstanceUID, dataset.SeriesNumber = derivation.uid("RTSTRUCT", "series"), SERIES_NUMBER["RTSTRUCT"]
    dataset.SeriesDescription = cut_text(f"{MANUFACTURER} {derivation.title}")
    dataset.Manufacturer, dataset.ManufacturerModelName = MANUFACTURER, maker.model
    dataset.SoftwareVersions, dataset.DeviceSerialNumber = [maker.software, maker.version], maker.recipe
    dataset.StructureSetLabel = cut_text(derivation.title, 16)
    dataset.StructureSetDescription = f"{maker.model} {maker.version}, recipe {maker.recipe}"
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = source.FrameOfReferenceUID, ""
    dataset.ApprovalStatus = "UNAPPROVED"
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    dataset.RTROIObservationsSequence = []
    return dataset


def _refer_to(sources: Sequence[Dataset], structures: Dataset) -> None:
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [_reference(source) for source in sources]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = _STUDY_CLASS, sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    structures.ReferencedFrameOfReferenceSequence = [frame]


def _reference(source: Dataset, *, frame: int | None = None) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    if frame is not None:
        reference.ReferencedFrameNumber = frame + 1
    return reference


def _references(sources: Sequence[Dataset], derivation: Derivation) -> dict[int, Dataset]:
    """Slice of the grid → reference to the image it shows; none where the series was resampled."""
    stack = derivation.stack
    if stack.upright is not stack.grid:
        return {}
    by_uid = {str(source.SOPInstanceUID): source for source in sources}
    return {
        int(place): _reference(by_uid[plane.uid], frame=plane.frame if "NumberOfFrames" in by_uid[plane.uid] else None)
        for place, plane in zip(stack.places, stack.planes, strict=True)
        if float(place).is_integer()
    }


def _contour(line: FloatArray, place: int, affine_lps: FloatArray, reference: Dataset | None) -> Dataset:
    contour = Dataset()
    if reference is not None:
        contour.ContourImageSequence = [reference]
    points = to_world(affine_lps, np.c_[line, np.full(len(line), place)])
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return contour


def _add_region(structures: Dataset, number: int, label: Label, contours: list[Dataset]) -> None:
    region, drawn, observed = Dataset(), Dataset(), Dataset()
    region.ROINumber, region.ROIName = number, finding_name(label, number)
    region.ReferencedFrameOfReferenceUID, region.ROIGenerationAlgorithm = structures.FrameOfReferenceUID, "AUTOMATIC"
    drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, list(label.colour)
    drawn.ContourSequence = contours
    observed.ObservationNumber = observed.ReferencedROINumber = number
    observed.RTROIInterpretedType, observed.ROIInterpreter = "", ""
    structures.StructureSetROISequence.append(region)
    structures.ROIContourSequence.append(drawn)
    structures.RTROIObservationsSequence.append(observed)
