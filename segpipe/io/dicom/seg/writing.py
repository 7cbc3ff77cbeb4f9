"""Writes findings as DICOM segmentations on the slices of their series."""

import hashlib
import re
from collections.abc import Sequence
from functools import reduce
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from segpipe.errors import OutputError
from segpipe.geometry import flip_ras_lps
from segpipe.io.dicom.objects import (
    MANUFACTURER,
    SERIES_NUMBER,
    Derivation,
    FindingMap,
    cut_text,
    dicom_code,
    finding_name,
    in_upright_slices,
    numbers_by_slice,
    read_sources,
    save,
    writing,
)
from segpipe.labels import Label

Kind = Literal["BINARY", "LABELMAP"]
Content = tuple[list[int], NDArray[np.integer[Any]], list[Any]]
"""Slices of the series, their segments and the descriptions of these."""


def write_dicom_seg(
    path: Path,
    findings: Sequence[FindingMap],
    *,
    derivation: Derivation,
    kind: Kind = "BINARY",
    per_finding: bool = True,
) -> Path:
    """Writes findings as a DICOM SEG on the slices of their series.

    Args:
        path: Replaced whole or not at all.
        findings: Where the findings of each class are.
        derivation: Series, classes and model.
        kind: `BINARY`, or `LABELMAP` for systems that know label maps; there a voxel has one segment, so of nested
            regions the innermost.
        per_finding: A segment for each finding, to which reports can refer; or one segment for all of them on every
            slice, which readers that know nothing of segments (ITK) open as one volume.

    Raises:
        OutputError: when there is no finding or the disk is full.
        ImageError: when the headers of the series are incomplete.
        GeometryError: when `findings` are on another grid.
    """
    import highdicom.seg

    maps = [FindingMap(found.label, in_upright_slices(found.numbers, derivation)) for found in findings]
    if not any(found.numbers.any() for found in maps):
        raise OutputError("a DICOM SEG must hold a finding", hint="a report (dicom-sr) can say that there is none")
    choose = _one_segment if not per_finding else _one_map if kind == "LABELMAP" or not _overlap(maps) else _all_maps
    with writing():
        places, segments, described = choose(maps, derivation)
        sources, pixels = sources_and_pixels(segments, places, derivation)
        segmentation = highdicom.seg.Segmentation(
            sources,
            pixels,
            kind,
            described,
            omit_empty_frames=per_finding,
            **_administration(derivation, kind if per_finding else f"{kind} of all", _digest(places, segments)),
        )
    return save(segmentation, path)


def _one_segment(maps: Sequence[FindingMap], derivation: Derivation) -> Content:
    """All slices, with 1 for any finding."""
    anything = np.any([found.numbers != 0 for found in maps], axis=0)
    description = _segment(1, derivation, derivation.labels[0], title=derivation.title)
    return list(range(len(anything))), anything.astype(np.uint8), [description]


def _one_map(maps: Sequence[FindingMap], derivation: Derivation) -> Content:
    """The slices that show a finding, with the segment of each voxel; of nested findings the innermost."""
    numbers = reduce(lambda around, inside: np.where(inside > 0, inside, around), [found.numbers for found in maps])
    shown = numbers_by_slice(numbers)
    segment_of, described = _segments(maps, {number for here in shown.values() for number in here}, derivation)
    return list(shown), np.stack([segment_of[numbers[place]] for place in shown]), described


def _all_maps(maps: Sequence[FindingMap], derivation: Derivation) -> Content:
    """The slices that show a finding, with 1 where a segment holds a voxel: (slice, row, column, segment)."""
    shown = [numbers_by_slice(found.numbers) for found in maps]
    places = sorted({place for several in shown for place in several})
    wanted = {number for several in shown for here in several.values() for number in here}
    segment_of, described = _segments(maps, wanted, derivation)
    pixels = np.zeros((len(places), *maps[0].numbers.shape[1:], len(described)), dtype=np.uint8)
    for found in maps:
        segments = segment_of[found.numbers[places]]
        inside = np.nonzero(segments)
        pixels[(*inside, segments[inside] - 1)] = 1
    return places, pixels, described


def _overlap(maps: Sequence[FindingMap]) -> bool:
    return any(bool(((one.numbers > 0) & (other.numbers > 0)).any()) for one, other in combinations(maps, 2))


def _segments(
    maps: Sequence[FindingMap], wanted: set[int], derivation: Derivation
) -> tuple[NDArray[np.integer[Any]], list[Any]]:
    """Number of a finding → its segment, which count from 1 without gaps; and their descriptions."""
    labels = {int(number): found.label for found in maps for number in np.unique(found.numbers) if number}
    segment_of: NDArray[Any] = np.zeros(max(labels) + 1, dtype=np.uint8 if len(wanted) < 256 else np.uint16)
    segment_of[sorted(wanted)] = np.arange(1, len(wanted) + 1)
    described = [
        _segment(segment, derivation, labels[number], finding=number)
        for segment, number in enumerate(sorted(wanted), start=1)
    ]
    return segment_of, described


def _segment(
    number: int, derivation: Derivation, label: Label, *, finding: int | None = None, title: str | None = None
) -> Any:
    """A segment of one finding, or of several under a common title."""
    import highdicom.seg
    from pydicom.sr.codedict import codes

    maker = derivation.maker
    algorithm = highdicom.AlgorithmIdentificationSequence(
        maker.model, codes.cid7162.ArtificialIntelligence, maker.version, parameters={"recipe": maker.recipe}
    )
    name = None if finding is None else finding_name(label, finding)
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=cut_text(name or title or label.name),
        tracking_id=name,
        tracking_uid=None if finding is None else derivation.tracking_uid(finding),
        segmented_property_category=dicom_code(label.category),
        segmented_property_type=dicom_code(label.type),
        anatomic_regions=[dicom_code(label.anatomy)],
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*label.colour),
    )


def sources_and_pixels(
    segments: NDArray[Any], places: Sequence[int], derivation: Derivation
) -> tuple[list[Dataset], Any]:
    """The images that show the slices, and their pixels; a volume where a slice is no image of the series."""
    import highdicom

    stack, sources = derivation.stack, read_sources(derivation)
    if not stack.repairs and len(sources) == len(stack.planes):
        return [sources[place] for place in places], segments
    whole = np.zeros((stack.upright.shape[2], *segments.shape[1:]), dtype=segments.dtype)
    whole[places] = segments
    frames = [plane.frame for plane in stack.planes]
    if not stack.repairs and len(sources) == 1 and int(sources[0].NumberOfFrames) == len(frames):
        return sources, whole[np.argsort(frames)]
    affine = flip_ras_lps(stack.upright.affine)[:, [2, 1, 0, 3]]
    frame_uid = derivation.series.identity.frame_of_reference_uid
    channels: Any = {"SegmentNumber": list(range(1, whole.shape[3] + 1))} if whole.ndim == 4 else None
    return sources, highdicom.Volume(whole, affine, "PATIENT", frame_of_reference_uid=frame_uid, channels=channels)


def _digest(places: Sequence[int], segments: NDArray[np.integer[Any]]) -> str:
    """Of what is shown: two runs of a model may differ in a voxel, and what differs is another object."""
    return hashlib.sha256(repr((places, segments.shape)).encode() + segments.tobytes()).hexdigest()


def _administration(derivation: Derivation, form: str, digest: str) -> dict[str, Any]:
    maker, title = derivation.maker, derivation.title
    return {
        "series_instance_uid": derivation.uid(form, "series"),
        "series_number": SERIES_NUMBER["SEG"],
        "sop_instance_uid": derivation.uid(form, "instance", digest),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": maker.model,
        "software_versions": (maker.software, maker.version),
        "device_serial_number": maker.recipe,
        "content_label": code_string(title),
        "content_description": cut_text(f"{title}, recipe {maker.recipe}"),
        "series_description": cut_text(f"{MANUFACTURER} {title}"),
    }


def code_string(text: str) -> str:
    """A text as DICOM's value representation CS has it: 16 capital letters, digits, spaces and underscores."""
    return re.sub(r"[^A-Z0-9 ]+", "_", text.upper())[:16].strip(" _") or "FINDINGS"
