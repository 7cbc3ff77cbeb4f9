"""What the header of a CT image says of each of its slices, in single-frame and enhanced multi-frame files alike."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from segpipe.io.dicom.series.files import DicomFile
from segpipe.io.dicom.values import items_of, number_of, text_of, whole_of

FloatArray = NDArray[np.float64]
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
PLANE_TAGS = (
    "SOPInstanceUID",
    "ImageType",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "TemporalPositionIdentifier",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_NOT_SLICES = {
    "LOCALIZER": "a scout (localizer)",
    "SCOUT": "a scout (localizer)",
    "MIP": "a projection (MIP)",
    "MAX_IP": "a projection (MIP)",
    "MIN_IP": "a projection (MinIP)",
    "VOLUME_RENDER": "a rendered picture",
    "SCREEN SAVE": "a screen shot",
    "DOSE_INFO": "a dose report",
}
_WHEN = ("AcquisitionNumber", "AcquisitionTime", "TemporalPositionIdentifier")
_HU_TYPES = {"", "HU", "US", "HU_MOD"}
_COSINE_TOLERANCE = 1e-3
LONGEST_SIDE = 8192  # pixels; CT for research has 4608 at most


class UnusablePlaneError(Exception):
    """The reason why an image is no slice of a scan, in a few words without any name or UID."""


class Location(NamedTuple):
    """Where a frame lies: centre of its first pixel, its directions and its pixel spacing, as in `Plane`."""

    position_mm: FloatArray
    directions: FloatArray
    spacing_mm: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice as its header describes it.

    Args:
        file: Where its pixels are.
        frame: Which frame of that file, from 0.
        shape: Rows and columns.
        position_mm: Centre of the first pixel, LPS+.
        directions: Unit vectors along a row and along a column, LPS+, shape (2, 3).
        spacing_mm: Distance between columns (along a row) and between rows.
        rescale: Slope and intercept to HU.
        order: Acquisition and instance number; decides between copies of one slice.
        uid: SOP instance UID; never shown.
        taken: When it was taken, in the words of several attributes.
    """

    file: DicomFile
    frame: int
    shape: tuple[int, int]
    position_mm: FloatArray
    directions: FloatArray
    spacing_mm: tuple[float, float]
    rescale: tuple[float, float]
    order: tuple[int, int, int]
    uid: str = field(repr=False)
    taken: tuple[str, ...] = field(repr=False, default=())

    @property
    def normal(self) -> FloatArray:
        """Unit vector across the slice, LPS+, so that row, column and normal are right-handed."""
        return np.cross(self.directions[0], self.directions[1])

    def lies_like(self, other: "Plane") -> bool:
        """True when both have the same size, pixel spacing and orientation."""
        return (
            self.shape == other.shape
            and bool(np.allclose(self.spacing_mm, other.spacing_mm, rtol=1e-3))
            and bool(np.abs(self.directions - other.directions).max() < _COSINE_TOLERANCE)
        )


def planes_of(header: Dataset, file: DicomFile) -> list[Plane]:
    """The slices that a CT image file holds.

    Raises:
        UnusablePlaneError: when it is a scout, a projection, a picture, or says too little about where it lies.
    """
    try:
        _check_image(header)
        if str(header.get("SOPClassUID", "")) not in ENHANCED_CT:
            return [_plane(header, [header], file, 0)]
        shared = _first(header, "SharedFunctionalGroupsSequence")
        frames = items_of(header, "PerFrameFunctionalGroupsSequence")
        return [_plane(header, [frame, shared], file, number) for number, frame in enumerate(frames)]
    except UnusablePlaneError:
        raise
    except Exception as error:  # pydicom answers a garbled header with errors of many kinds
        raise UnusablePlaneError("an image whose header lacks or garbles its geometry") from error


def locate_frame(groups: Sequence[Dataset]) -> Location:
    """Where a frame lies; `groups` are its own functional groups and the shared ones, or a single-frame header.

    Raises:
        UnusablePlaneError: when position, orientation or pixel spacing is missing.
    """
    position = _macro(groups, "PlanePositionSequence", "ImagePositionPatient")
    orientation = _macro(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    measures = _macro(groups, "PixelMeasuresSequence", "PixelSpacing")
    rows_apart, columns_apart = _numbers(measures.get("PixelSpacing"), 2, "no pixel spacing")
    if min(rows_apart, columns_apart) <= 0:
        raise UnusablePlaneError("an image with no pixel spacing")
    return Location(
        position_mm=_numbers(position.get("ImagePositionPatient"), 3, "no position in the patient"),
        directions=_directions(orientation.get("ImageOrientationPatient")),
        spacing_mm=(float(columns_apart), float(rows_apart)),
    )


def group_planes(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Parts of a series that could be one scan each (same size, spacing and orientation), largest first."""
    groups: list[list[Plane]] = []
    for plane in planes:
        home = next((group for group in groups if plane.lies_like(group[0])), None)
        if home is None:
            groups.append([plane])
        else:
            home.append(plane)
    return sorted(groups, key=len, reverse=True)


def _check_image(header: Dataset) -> None:
    flavours = set(text_of(header, "ImageType").upper().split("\\"))
    for flavour, reason in _NOT_SLICES.items():
        if flavour in flavours:
            raise UnusablePlaneError(reason)
    if int(header.get("SamplesPerPixel") or 1) != 1:
        raise UnusablePlaneError("a colour picture")


def _plane(header: Dataset, groups: Sequence[Dataset], file: DicomFile, frame: int) -> Plane:
    """One slice; `groups` are searched in turn for the functional groups that a single-frame header holds flat."""
    _check_image(_macro(groups, "CTImageFrameTypeSequence", "FrameType"))
    location = locate_frame(groups)
    shape = int(header.Rows), int(header.Columns)
    if not 1 <= min(shape) <= max(shape) <= LONGEST_SIDE:
        raise UnusablePlaneError("an image without pixels, or larger than any of a CT")
    to_hu = _macro(groups, "PixelValueTransformationSequence", "RescaleSlope")
    return Plane(
        file=file,
        frame=frame,
        shape=shape,
        position_mm=location.position_mm,
        directions=location.directions,
        spacing_mm=location.spacing_mm,
        rescale=_rescale(to_hu),
        order=(whole_of(header, "AcquisitionNumber"), whole_of(header, "InstanceNumber"), frame),
        taken=tuple(text_of(header, keyword) for keyword in _WHEN),
        uid=str(header.SOPInstanceUID),
    )


def _macro(groups: Sequence[Dataset], sequence: str, keyword: str) -> Dataset:
    """The functional group macro `sequence`, or the data set that holds `keyword` itself, or an empty one."""
    for group in groups:
        if items_of(group, sequence):
            return _with_image_type(_first(group, sequence))
        if keyword in group:
            return group
    return Dataset()


def _with_image_type(macro: Dataset) -> Dataset:
    if "FrameType" in macro:
        macro.ImageType = macro.FrameType
    return macro


def _rescale(macro: Dataset) -> tuple[float, float]:
    if text_of(macro, "RescaleType").upper() not in _HU_TYPES:
        raise UnusablePlaneError("an image whose values are not HU")
    slope, intercept = number_of(macro, "RescaleSlope"), number_of(macro, "RescaleIntercept")
    if not slope or intercept is None:
        raise UnusablePlaneError("an image without rescale slope and intercept")
    return slope, intercept


def _directions(cosines: Any) -> FloatArray:
    directions = _numbers(cosines, 6, "no orientation in the patient").reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1)
    if np.abs(lengths - 1).max() > 1e-2 or abs(directions[0] @ directions[1]) > 1e-2:
        raise UnusablePlaneError("an image whose row and column are not at right angles")
    row = directions[0] / lengths[0]
    column = directions[1] - (directions[1] @ row) * row
    return np.stack([row, column / np.linalg.norm(column)])


def _numbers(values: Any, count: int, lack: str) -> FloatArray:
    numbers = np.array([float(value) for value in _values(values)])
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise UnusablePlaneError(f"an image with {lack}")
    return numbers


def _values(values: Any) -> list[Any]:
    if values is None:
        return []
    return [values] if isinstance(values, str) else list(values)


def _first(header: Dataset, sequence: str) -> Dataset:
    return next(iter(items_of(header, sequence)), Dataset())
