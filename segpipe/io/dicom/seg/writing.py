"""Writes findings as DICOM segmentations on the slices of their series."""

from collections.abc import Sequence
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
    dicom_code,
    in_upright_slices,
    numbers_by_slice,
    read_sources,
    save,
    writing,
)

Kind = Literal["BINARY", "LABELMAP"]


def write_dicom_seg(
    path: Path,
    findings: NDArray[np.integer[Any]],
    *,
    derivation: Derivation,
    kind: Kind = "BINARY",
    per_finding: bool = True,
) -> Path:
    """Writes findings as a DICOM SEG on the slices of their series.

    Args:
        path: Replaced whole or not at all.
        findings: Number of each voxel's finding (0 = none), on the grid that `read_series` gives.
        derivation: Series, label and model.
        kind: `BINARY`, or `LABELMAP` for systems that know label maps.
        per_finding: A segment for each finding, to which reports can refer; or one segment for all of them on every
            slice, which readers that know nothing of segments (ITK) open as one volume.

    Raises:
        OutputError: when there is no finding or the disk is full.
        ImageError: when the headers of the series are incomplete.
        GeometryError: when `findings` is on another grid.
    """
    import highdicom.seg

    slices = in_upright_slices(findings, derivation)
    shown = numbers_by_slice(slices)
    numbers = sorted({number for here in shown.values() for number in here})
    if not numbers:
        raise OutputError("a DICOM SEG must hold a finding", hint="a report (dicom-sr) can tell that there is none")
    told: list[int | None] = [*numbers] if per_finding else [None]
    described = [_segment(segment, derivation, finding=finding) for segment, finding in enumerate(told, start=1)]
    with writing():
        places = list(shown) if per_finding else list(range(len(slices)))
        segments = _segments(slices, places, numbers if per_finding else None)
        sources, pixels = _sources_and_pixels(segments, places, derivation)
        segmentation = highdicom.seg.Segmentation(
            sources,
            pixels,
            kind,
            described,
            omit_empty_frames=per_finding,
            **_administration(derivation, kind if per_finding else f"{kind} of all"),
        )
    return save(segmentation, path)


def _segments(
    slices: NDArray[np.integer[Any]], places: Sequence[int], numbers: Sequence[int] | None
) -> NDArray[np.integer[Any]]:
    """The chosen slices with segment numbers, which count from 1 without gaps; without `numbers` 1 for any finding."""
    if numbers is None:
        return np.stack([slices[place] != 0 for place in places]).astype(np.uint8)
    table = np.zeros(max(numbers) + 1, dtype=np.uint8 if len(numbers) < 256 else np.uint16)
    table[list(numbers)] = np.arange(1, len(numbers) + 1)
    return np.stack([table[slices[place]] for place in places])


def _segment(number: int, derivation: Derivation, *, finding: int | None) -> Any:
    """A segment of one finding, or of all of them when `finding` is None."""
    import highdicom.seg
    from pydicom.sr.codedict import codes

    label, maker = derivation.label, derivation.maker
    algorithm = highdicom.AlgorithmIdentificationSequence(
        maker.model, codes.cid7162.ArtificialIntelligence, maker.version, parameters={"recipe": maker.recipe}
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label.name if finding is None else derivation.name(finding),
        tracking_id=None if finding is None else derivation.name(finding),
        tracking_uid=None if finding is None else derivation.tracking_uid(finding),
        segmented_property_category=dicom_code(label.category),
        segmented_property_type=dicom_code(label.type),
        anatomic_regions=[dicom_code(label.anatomy)],
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
        display_color=highdicom.color.CIELabColor.from_rgb(*label.colour),
    )


def _sources_and_pixels(
    segments: NDArray[np.integer[Any]], places: Sequence[int], derivation: Derivation
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
    return sources, highdicom.Volume(whole, affine, "PATIENT", frame_of_reference_uid=frame_uid)


def _administration(derivation: Derivation, form: str) -> dict[str, Any]:
    label, maker = derivation.label, derivation.maker
    return {
        "series_instance_uid": derivation.uid(form, "series"),
        "series_number": SERIES_NUMBER["SEG"],
        "sop_instance_uid": derivation.uid(form, "instance"),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": maker.model,
        "software_versions": (maker.software, maker.version),
        "device_serial_number": maker.recipe,
        "content_label": label.name.upper(),
        "content_description": f"{label.name}, recipe {maker.recipe}"[:64],
        "series_description": f"{MANUFACTURER} {label.name}",
    }
