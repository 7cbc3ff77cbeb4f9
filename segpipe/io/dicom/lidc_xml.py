"""Reads what the four radiologists of LIDC-IDRI drew on a series: one mask per reader, ratings and tiny nodules."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import GeometryError, ImageError, SegpipeError
from segpipe.geometry import flip_ras_lps
from segpipe.io.dicom.rtstruct.contours import border_pixels, fill_region
from segpipe.io.dicom.series.description import SeriesInfo
from segpipe.io.dicom.series.planes import Plane
from segpipe.io.dicom.series.series import stack_series
from segpipe.io.dicom.series.stack import Stack, assemble

IntArray = NDArray[np.int64]
_FARTHEST = 2**15  # pixels; no slice has so many in a row
LARGEST_READING = 2**26  # bytes; the largest of LIDC-IDRI has 2 MB
RATINGS = (
    "subtlety",
    "internalStructure",
    "calcification",
    "sphericity",
    "margin",
    "lobulation",
    "spiculation",
    "texture",
    "malignancy",
)


@dataclass(frozen=True, eq=False)
class Outline:
    """One outline on one slice: the first pixels outside the nodule, or outside the part that is taken out of it.

    Args:
        points: (n, 2) as (column, row).
        z_mm: Position of the slice, LPS+.
        inclusion: False for a part that does not belong to the nodule, e.g. a cavity.
        sop_uid: The slice's SOP instance UID; never shown.
    """

    points: IntArray
    z_mm: float
    inclusion: bool
    sop_uid: str = field(repr=False)


@dataclass(frozen=True, eq=False)
class Mark:
    """One nodule as one reader marked it.

    Args:
        reader: 1 for the first reading session.
        outlines: Its outlines; for a nodule below 3 mm one outline of one point, about its centre.
        ratings: Rating name → value from 1; empty for nodules below 3 mm.
    """

    reader: int
    outlines: tuple[Outline, ...]
    ratings: Mapping[str, int]

    @property
    def below_3mm(self) -> bool:
        """True for a nodule that was marked by a point alone, as the protocol asks for below 3 mm."""
        return all(len(outline.points) == 1 for outline in self.outlines)


@dataclass(frozen=True, eq=False)
class Reading:
    """All marks of one series.

    Args:
        readers: How many radiologists read it, whether or not they marked anything.
        marks: In the order of the file.
        series_uid: The series; never shown.
    """

    readers: int
    marks: tuple[Mark, ...]
    series_uid: str = field(repr=False)


def read_lidc_xml(path: Path) -> Reading:
    """Reads one annotation file.

    Raises:
        ImageError: when it is missing, damaged, or no reading of a CT series.
    """
    root = _parse(path)
    if root.tag != "LidcReadMessage":
        raise ImageError("the XML file is no reading of a LIDC CT series", facts={"file": path.name, "found": root.tag})
    try:
        sessions = root.findall("readingSession")
        marks = [mark for number, session in enumerate(sessions, start=1) for mark in _marks(session, number)]
        return Reading(len(sessions), tuple(marks), _text(root, "ResponseHeader/SeriesInstanceUid"))
    except (ValueError, AttributeError, OverflowError) as error:
        raise ImageError("the XML file is garbled", facts={"file": path.name, "found": type(error).__name__}) from None


def mark_masks(
    reading: Reading, series: SeriesInfo, *, repair: Collection[str] = ()
) -> Iterator[tuple[Mark, NDArray[np.uint8]]]:
    """The mask of every nodule of 3 mm or more on the grid that `read_series` gives, one at a time.

    An outline's own pixels never belong to the nodule, be it an inclusion or an exclusion.

    Raises:
        GeometryError: when the reading is of another series or refers to slices that the series lacks.

    Source: Armato et al. 2011, doi 10.1118/1.3528204: the outline does not overlap pixels of the nodule.
    """
    if reading.series_uid != series.identity.series_uid:
        raise GeometryError("the reading belongs to another series", facts={"series": series})
    stack = stack_series(series, repair=repair)
    try:
        for mark in reading.marks:
            if not mark.below_3mm:
                yield mark, _mask(mark.outlines, stack)
    except SegpipeError as error:
        raise error.with_facts(series=series) from None


def mark_centre_mm(mark: Mark, series: SeriesInfo) -> tuple[float, float, float]:
    """Mean of all points of a mark in mm, RAS+; for a nodule below 3 mm the point the reader clicked.

    Raises:
        GeometryError: when the mark refers to a slice that the series lacks.
    """
    numbers, heights = _slices(series.planes)
    points = []
    for outline in mark.outlines:
        plane = series.planes[_slice_number(outline, numbers, heights)]
        steps = plane.directions * np.array(plane.spacing_mm)[:, None]
        points.append(plane.position_mm + outline.points @ steps)
    x, y, z = flip_ras_lps(np.concatenate(points).mean(axis=0))
    return float(x), float(y), float(z)


def reader_masks(
    reading: Reading, marks: Iterable[tuple[Mark, NDArray[np.uint8]]], shape: tuple[int, int, int]
) -> list[NDArray[np.uint8]]:
    """All nodules of 3 mm or more of each reader, in the order of the reading sessions; empty where none was marked."""
    masks = [np.zeros(shape, dtype=np.uint8) for _ in range(reading.readers)]
    for mark, mask in marks:
        masks[mark.reader - 1] |= mask
    return masks


def consensus(masks: Sequence[NDArray[np.uint8]], *, agreement: float = 0.5) -> NDArray[np.uint8]:
    """The voxels that at least this share of all readers marked.

    >>> votes = [np.array([[[1, 1]]], dtype=np.uint8), np.array([[[1, 0]]], dtype=np.uint8)]
    >>> consensus(votes, agreement=1.0).tolist()
    [[[1, 0]]]
    """
    votes = np.zeros(masks[0].shape, dtype=np.uint8)
    for mask in masks:
        votes += mask
    needed = max(1, int(np.ceil(agreement * len(masks) - 1e-9)))
    return np.asarray(votes >= needed, dtype=np.uint8)


def _parse(path: Path) -> ElementTree.Element:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST_READING + 1)
    except OSError as error:
        raise ImageError("the XML file cannot be read", facts={"file": path.name, "found": error.strerror}) from None
    if len(content) > LARGEST_READING:
        facts = {"file": path.name, "found": f"more than {LARGEST_READING >> 20} MiB"}
        raise ImageError("the XML file is larger than any reading", facts=facts)
    try:
        _refuse_entities(content, path)
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, expat.ExpatError, LookupError, ValueError) as error:
        raise ImageError("the XML file is damaged", facts={"file": path.name, "found": error}) from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _refuse_entities(content: bytes, path: Path) -> None:
    """Entities can grow without bound, and are found in whatever encoding the file is, since the parser finds them."""

    def refuse(*_: object) -> None:
        raise ImageError("the XML file defines entities, which no reading does", facts={"file": path.name})

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _marks(session: ElementTree.Element, reader: int) -> Iterator[Mark]:
    for nodule in session.findall("unblindedReadNodule"):
        outlines = tuple(_outline(roi) for roi in nodule.findall("roi"))
        drawn = tuple(outline for outline in outlines if len(outline.points) > 1)
        if outlines:
            yield Mark(reader, drawn or outlines, _ratings(nodule))


def _outline(roi: ElementTree.Element) -> Outline:
    points = [(int(_text(edge, "xCoord")), int(_text(edge, "yCoord"))) for edge in roi.findall("edgeMap")]
    z_mm = float(_text(roi, "imageZposition"))
    if not math.isfinite(z_mm) or any(abs(value) > _FARTHEST for point in points for value in point):
        raise ValueError("no place")
    return Outline(
        points=np.array(points, dtype=np.int64).reshape(-1, 2),
        z_mm=z_mm,
        inclusion=_text(roi, "inclusion").upper() != "FALSE",
        sop_uid=_text(roi, "imageSOP_UID"),
    )


def _ratings(nodule: ElementTree.Element) -> dict[str, int]:
    """The ratings that were given; a blank or a 0 is none."""
    given = {name: _text(nodule, f"characteristics/{name}") for name in RATINGS}
    return {name: int(text) for name, text in given.items() if text.isdigit() and int(text) > 0}


def _mask(outlines: Sequence[Outline], stack: Stack) -> NDArray[np.uint8]:
    columns, rows, _ = stack.grid.shape
    mask = np.zeros((len(stack.planes), rows, columns), dtype=np.uint8).transpose(2, 1, 0)
    numbers, heights = _slices(stack.planes)
    placed = [(_slice_number(outline, numbers, heights), outline) for outline in outlines]
    for number, outline in placed:
        if outline.inclusion:
            mask[:, :, number] |= _inside(outline, (columns, rows))
    for number, outline in placed:
        if not outline.inclusion:
            mask[:, :, number] &= ~(_inside(outline, (columns, rows)) | _border(outline, (columns, rows)))
    return np.asarray(assemble(stack, mask, mask=True), dtype=np.uint8)


def _slices(planes: Sequence[Plane]) -> tuple[dict[str, int], NDArray[np.float64]]:
    """SOP instance UID → number of the slice, and the heights of all slices in mm."""
    numbers = {plane.uid: number for number, plane in enumerate(planes)}
    return numbers, np.array([plane.position_mm[2] for plane in planes])


def _slice_number(outline: Outline, numbers: Mapping[str, int], heights: NDArray[np.float64]) -> int:
    if outline.sop_uid in numbers:
        return numbers[outline.sop_uid]
    apart = np.abs(heights - outline.z_mm)
    if apart.min() > 0.01:
        raise GeometryError(
            "an outline lies on a slice that the series lacks",
            facts={"outline": f"{outline.z_mm:g} mm", "nearest slice": f"{apart.min():.2f} mm away"},
            hint="download the whole series again",
        )
    return int(apart.argmin())


def _inside(outline: Outline, shape: tuple[int, int]) -> NDArray[np.bool_]:
    return fill_region([outline.points.astype(np.float64)], shape, border=False)


def _border(outline: Outline, shape: tuple[int, int]) -> NDArray[np.bool_]:
    return border_pixels([outline.points.astype(np.float64)], shape)
