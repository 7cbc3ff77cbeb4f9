"""What headers say of a series and its patient, and of the objects that refer to series."""

from collections.abc import Collection
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from segpipe.errors import GeometryError
from segpipe.io.dicom.series.files import DicomFile
from segpipe.io.dicom.series.planes import Plane
from segpipe.io.dicom.values import items_of, number_of, text_of

ANNOTATIONS = {
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",
}
PERSON = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
SERIES_TAGS = (
    *PERSON,
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
        person: Everything that distinguishes patients and their studies.
        instances: Digest of the instances of a series that may still grow, where each state of it must have objects of
            its own; empty where study and series are enough.
    """

    patient_id: str = field(repr=False)
    study_uid: str = field(repr=False)
    series_uid: str = field(repr=False)
    frame_of_reference_uid: str = field(repr=False)
    person: tuple[str, ...] = field(repr=False, default=())
    instances: str = field(repr=False, default="")


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


def person_of(header: Dataset) -> tuple[str, ...]:
    """Everything that distinguishes patients and their studies, in one spelling."""
    return tuple(text_of(header, keyword).strip().casefold() for keyword in PERSON)


def identity_of(header: Dataset) -> Identity:
    """What identifies the series of an image and its patient."""
    names = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    patient, study, series, frame = (text_of(header, name) for name in names)
    return Identity(patient, study, series, frame, person=person_of(header))


def facts_of(header: Dataset) -> dict[str, str | float]:
    """What is known of a series; a fact that is garbled is as one that is missing."""
    facts: dict[str, str | float | None] = {
        "kernel": text_of(header, "ConvolutionKernel"),
        "manufacturer": text_of(header, "Manufacturer"),
        "slice_thickness_mm": number_of(header, "SliceThickness"),
        "body_part": text_of(header, "BodyPartExamined"),
    }
    return {name: value for name, value in facts.items() if value}


def annotation_of(header: Dataset, file: DicomFile) -> Annotation:
    """What an RTSTRUCT or SEG says of the series that it refers to."""
    frames = items_of(header, "ReferencedFrameOfReferenceSequence")
    studies = [study for frame in frames for study in items_of(frame, "RTReferencedStudySequence")]
    nested = [series for study in studies for series in items_of(study, "RTReferencedSeriesSequence")]
    named = [text_of(item, "SeriesInstanceUID") for item in [*items_of(header, "ReferencedSeriesSequence"), *nested]]
    spaces = [text_of(item, "FrameOfReferenceUID") for item in [*frames, header]]
    return Annotation(
        kind=ANNOTATIONS[text_of(header, "SOPClassUID")],
        file=file,
        series_uids=tuple(filter(None, named)),
        frame_of_reference_uids=tuple(filter(None, spaces)),
        patient_and_study=(text_of(header, "PatientID"), text_of(header, "StudyInstanceUID")),
    )
