"""What DICOM objects of segpipe's own have in common: their maker, UIDs, patient and the way they are saved."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code as DicomCode
from pydicom.uid import UID, ExplicitVRLittleEndian, SegmentationStorage, generate_uid

from segpipe.errors import GeometryError, ImageError, OutputError, SegpipeError
from segpipe.io.dicom.series.description import SeriesInfo
from segpipe.io.dicom.series.series import read_source_datasets, stack_series
from segpipe.io.dicom.series.stack import Stack
from segpipe.io.dicom.source_headers import mend_header
from segpipe.io.quiet import quiet_libraries
from segpipe.labels import Code, Label
from segpipe.system.files.atomic_write import atomic_write

MANUFACTURER = "segpipe"
SCHEME = "99SEGPIPE"
"""Our own codes, for what the standard has no concept of; 99 marks local schemes (DICOM PS3.16, 8)."""
SERIES_NUMBER = {"SEG": 9001, "SR": 9002, "RTSTRUCT": 9003, "PM": 9004}
_MUST_HAVE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")


@dataclass(frozen=True)
class Maker:
    """What made an object; it is written into it.

    Args:
        model: Name of the model.
        version: Its version.
        recipe: Digest of its recipe.
        software: Version of segpipe.
        point: Digest of the operating point and whatever else was chosen when it predicted.
    """

    model: str
    version: str
    recipe: str
    software: str
    point: str = ""


@dataclass(frozen=True)
class Derivation:
    """What is written from which series.

    Args:
        series: The series that findings were found in.
        labels: The classes that the model distinguishes.
        maker: The model that found them.
        repair: As given to `read_series`.
    """

    series: SeriesInfo
    labels: tuple[Label, ...]
    maker: Maker
    repair: tuple[str, ...] = ()

    @property
    def stack(self) -> Stack:
        """The slices and the grid of the series."""
        return stack_series(self.series, repair=self.repair)

    def uid(self, *parts: str) -> UID:
        """A UID that the series, the maker and `parts` alone decide, so that an object made twice has one UID."""
        maker, identity = self.maker, self.series.identity
        made = (maker.model, maker.version, maker.recipe, maker.point)
        # two patients can share a series UID, and must never share one of an object
        known = (
            identity.patient_id,
            identity.study_uid,
            identity.series_uid,
            *filter(None, [identity.instances]),
            *made,
            *(label.name for label in self.labels),
        )
        return generate_uid(entropy_srcs=["segpipe", *known, *parts])

    def tracking_uid(self, number: int) -> UID:
        """The UID under which segmentation, report and structure set speak of one finding."""
        return self.uid(f"finding {number}")

    @property
    def title(self) -> str:
        """What the classes are called together, e.g. `solid, ground glass`."""
        return ", ".join(label.name for label in self.labels)

    def label(self, name: str) -> Label:
        """The class of this name."""
        return next(label for label in self.labels if label.name == name)


@dataclass(frozen=True, eq=False)
class FindingMap:
    """Where the findings of one class are.

    Args:
        label: The class.
        numbers: Number of each voxel's finding (0 = none), on the grid that `read_series` gives. Numbers run through
            all classes; a nested region and the one around it have maps that overlap.
    """

    label: Label
    numbers: NDArray[np.integer[Any]]


def finding_name(label: Label, number: int) -> str:
    """What a finding is called everywhere, e.g. `nodule 1`."""
    return f"{cut_text(label.name, 56)} {number}"


def cut_text(text: str, length: int = 64) -> str:
    """The beginning of a text that DICOM's value representations allow, LO by default.

    The standard counts characters and some tools bytes, so bytes of UTF-8 are counted.
    """
    return text.encode()[:length].decode(errors="ignore").strip()


class Rated(Protocol):
    """A predicted rating; `segpipe.inference.measurements.rating.PredictedRating` is one."""

    @property
    def grade(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def confidence(self) -> float: ...  # noqa: D102


class Relied(Protocol):
    """How far a finding can be relied on; `segpipe.inference.measurements.reliability.Reliability` is one."""

    def describe(self) -> str: ...  # noqa: D102


class Measured(Protocol):
    """A finding as a report needs it; `segpipe.inference.findings.Finding` is one."""

    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def volume_mm3(self) -> float: ...  # noqa: D102
    @property
    def axial_diameter_mm(self) -> float: ...  # noqa: D102
    @property
    def perpendicular_diameter_mm(self) -> float: ...  # noqa: D102
    @property
    def mean_diameter_mm(self) -> float: ...  # noqa: D102
    @property
    def equivalent_diameter_mm(self) -> float: ...  # noqa: D102
    @property
    def mean_hu(self) -> float: ...  # noqa: D102
    @property
    def p5_hu(self) -> float: ...  # noqa: D102
    @property
    def median_hu(self) -> float: ...  # noqa: D102
    @property
    def p95_hu(self) -> float: ...  # noqa: D102
    @property
    def solid_fraction(self) -> float: ...  # noqa: D102
    @property
    def solid_mean_diameter_mm(self) -> float | None: ...  # noqa: D102
    @property
    def nodule_type(self) -> str: ...  # noqa: D102
    @property
    def mean_probability(self) -> float: ...  # noqa: D102
    @property
    def side(self) -> str | None: ...  # noqa: D102
    @property
    def zone(self) -> str: ...  # noqa: D102
    @property
    def slice_note(self) -> str | None: ...  # noqa: D102
    @property
    def ratings(self) -> Mapping[str, Rated]: ...  # noqa: D102
    @property
    def reliability(self) -> Relied | None: ...  # noqa: D102
    @property
    def cut_by(self) -> str | None: ...  # noqa: D102


def read_sources(derivation: Derivation) -> list[Dataset]:
    """Headers of a series in the order of its slices, completed so that objects can be derived from them.

    Raises:
        ImageError: when they lack a UID that a derived object must name.
    """
    sources = read_source_datasets(derivation.series, repair=derivation.repair)
    thickness = f"{derivation.stack.grid.spacing_mm[2]:.6g}"
    for source in sources:
        mend_header(source)
        lacking = [name for name in _MUST_HAVE if not source.get(name)]
        if lacking:
            raise ImageError("the series lacks what a derived object must name", facts={"missing": ", ".join(lacking)})
        if not source.get("SliceThickness") and "SharedFunctionalGroupsSequence" not in source:
            source.SliceThickness = thickness
    return sources


def numbers_by_slice(slices: NDArray[np.integer[Any]]) -> dict[int, list[int]]:
    """Slice → numbers of the findings on it, for slices that show any; looks at one slice at a time."""
    found = {place: [int(n) for n in np.unique(plane) if n] for place, plane in enumerate(slices) if plane.any()}
    return {place: numbers for place, numbers in found.items() if numbers}


def in_upright_slices(findings: NDArray[Any], derivation: Derivation) -> NDArray[Any]:
    """Checks that an array lies on the grid of the series and returns it as (slice, row, column).

    Raises:
        GeometryError: when it does not.
    """
    grid = derivation.stack.upright
    if findings.shape != grid.shape:
        found = "×".join(map(str, findings.shape))
        raise GeometryError("findings and series must be on one grid", facts={"findings": found, "series": grid})
    return findings.transpose(2, 1, 0)


def dicom_code(code: Code) -> DicomCode:
    """A coded concept in pydicom's form."""
    return DicomCode(code.value, code.scheme, code.meaning)


@contextmanager
def writing() -> Iterator[None]:
    """Writes in silence, and explains failures of the libraries without quoting them, since they quote the patient.

    Raises:
        ImageError: when the series' headers do not allow the object to be made.
    """
    try:
        with quiet_libraries():
            yield
    except (SegpipeError, MemoryError, OSError):
        raise
    except Exception as error:  # the libraries answer odd headers with errors of many kinds
        raise ImageError(
            "the headers of the series do not allow a DICOM object to be derived",
            facts={"found": type(error).__name__},
            hint="write NIfTI instead, or export the series again with complete headers",
        ) from error


def load_standard() -> None:
    """Loads highdicom's tables of the standard, 100 MB that would otherwise come with the first object written."""
    import highdicom

    # nothing public loads them but an object itself
    study, series, instance = (generate_uid() for _ in range(3))
    highdicom.SOPClass(
        study, series, 1, instance, SegmentationStorage, 1, "SEG", transfer_syntax_uid=ExplicitVRLittleEndian
    )


def save(dataset: Dataset, path: Path) -> Path:
    """Writes under a temporary name and renames.

    Raises:
        OutputError: when the file cannot be written.
        ImageError: when a value of the series does not fit into the file.
    """
    try:
        with writing(), atomic_write(path) as part:
            dataset.save_as(part, enforce_file_format=True)
    except OSError as error:
        raise OutputError("the file cannot be written", facts={"file": path, "found": error.strerror}) from error
    return path
