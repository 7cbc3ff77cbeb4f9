"""Makes a data set of CT series and the structure sets or segmentations that refer to them."""

import contextlib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Case, Volume
from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.case_names import CaseName, name_cases, origin_of, origins_of
from segpipe.errors import ConfigError, LabelError
from segpipe.io.dicom.rtstruct.contours import Border
from segpipe.io.dicom.rtstruct.reading import read_region_names, read_regions
from segpipe.io.dicom.seg.reading import read_dicom_seg, read_segment_labels
from segpipe.io.dicom.series.description import Annotation, SeriesInfo
from segpipe.io.dicom.series.series import SeriesScan, find_series, read_series, stack_series
from segpipe.io.dicom.series.stack import REPAIRS
from segpipe.io.images.volumes import write_volume
from segpipe.labels import lesion_mask
from segpipe.lesions import find_components

Mask = NDArray[np.uint8]
NSCLC_TUMOUR = r"GTV[- _]?\d+|Neoplasm, Primary"
NSCLC_LUNGS = r"Lungs?([- _].*)?"


@dataclass(frozen=True)
class Regions:
    """Which regions of structure sets and segmentations become the mask.

    Args:
        patterns: Label name → pattern of region names, in the order of the mask values 1, 2, …; where regions overlap
            the first counts. A pattern of None takes the only region there is.
        lungs: Pattern of regions that are kept as a lung mask of their own.
        repair: Defects of series that may be mended.
        border: Whether pixels whose centres lie on a contour belong to its region, see `read_regions`.
    """

    patterns: Mapping[str, str | None]
    lungs: str | None = None
    repair: tuple[str, ...] = ()
    border: Border = "auto"


@dataclass(frozen=True, eq=False)
class Found:
    """Regions of annotations: their masks by name, and the names of those whose contours run through pixel centres."""

    masks: Mapping[str, Mask]
    through_centres: tuple[str, ...] = ()


def ingest_dicom(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """Ingests any tree, zip file or DICOMDIR."""
    patterns = parse_regions(request.options["roi"], request.label)
    repair, border = parse_repair(request.options["repair"]), parse_border(request.options["contour_border"])
    return _ingest(request, Regions(patterns, repair=repair, border=border), "dicom")


def ingest_nsclc(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """Ingests NSCLC-Radiomics (LUNG1): `GTV-1`, `GTV-2`, … as tumour and `Lung L`, `Lung R` as lung mask."""
    repair, border = parse_repair(request.options["repair"]), parse_border(request.options["contour_border"])
    return _ingest(request, Regions({"tumour": NSCLC_TUMOUR}, NSCLC_LUNGS, repair, border), "nsclc-radiomics")


def parse_regions(text: str | None, label: str) -> dict[str, str | None]:
    """Reads `--roi`: one pattern, or `name=pattern;name=pattern` for a mask with several labels.

    >>> parse_regions("tumour=GTV.*;lung=Lung.*", "nodule")
    {'tumour': 'GTV.*', 'lung': 'Lung.*'}

    Raises:
        ConfigError: for a pattern that is no regular expression.
    """
    if not text:
        return {label: None}
    named = re.fullmatch(r"(\w[\w -]*=[^;]+)(;\w[\w -]*=[^;]+)*", text)
    parts = [part.partition("=") for part in text.split(";")] if named else [(label, "=", text)]
    for _, _, pattern in parts:
        try:
            re.compile(pattern)
        except re.error as error:
            facts = {"roi": pattern, "found": error}
            raise ConfigError("the ROI pattern is no regular expression", facts=facts) from None
    return {name.strip(): pattern for name, _, pattern in parts}


def parse_repair(text: str | None) -> tuple[str, ...]:
    """Reads `--repair missing,duplicate`.

    Raises:
        ConfigError: for an unknown defect.
    """
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    unknown = sorted(set(names) - set(REPAIRS))
    if unknown:
        raise ConfigError("unknown repair", facts={"found": ", ".join(unknown), "known": ", ".join(REPAIRS)})
    return names


def parse_border(text: str | None) -> Border:
    """Reads `--contour-border`.

    Raises:
        ConfigError: for anything else than include, exclude and auto.
    """
    if text is None or text in get_args(Border):
        return cast(Border, text or "auto")
    raise ConfigError("unknown --contour-border", facts={"found": text, "known": ", ".join(get_args(Border))})


def make_case(
    series: SeriesInfo, name: CaseName, folder: Path, *, annotations: Sequence[Annotation], regions: Regions
) -> Entry:
    """Reads one series with its regions and writes scan, mask and, if asked, lung mask.

    Raises:
        SegpipeError: for a bad case.
    """
    volume = read_series(series, repair=regions.repair)
    mask, extra = None, series_facts(series, regions.repair)
    if annotations:
        mask, described = _labelled(series, annotations, regions)
        extra |= described
        extra["lesions"] = find_components(lesion_mask(mask, dict(enumerate(regions.patterns, start=1)))).count
    entry = store_case(name, volume, mask, folder, extra=extra)
    lungs = _found(series, annotations, regions.lungs, regions).masks if regions.lungs else {}
    if not lungs:
        return entry
    write_volume(folder / "lungs" / f"{name.case}.nii.gz", _union(lungs), volume.grid)
    return replace(entry, extra={**(entry.extra or {}), "lung_mask": f"lungs/{name.case}.nii.gz"})


def store_case(name: CaseName, volume: Volume, mask: Mask | None, folder: Path, *, extra: Mapping[str, Any]) -> Entry:
    """Checks a scan and its mask and writes them as `images/<case>.nii.gz` (HU, int16) and `masks/<case>.nii.gz`.

    Raises:
        ImageError: for an image without contrast.
    """
    case = Case(name.case, volume.array, volume.grid, mask)
    facts = {"spacing_mm": [round(mm, 4) for mm in case.grid.spacing_mm], "shape": list(case.grid.shape), **extra}
    image = write_volume(folder / "images" / f"{name.case}.nii.gz", case.image, case.grid)
    if case.mask is None:
        return Entry(name.case, name.patient, image, extra=facts)
    if "lesions" not in facts:
        facts["lesions"] = find_components(case.mask == 1).count
    written = write_volume(folder / "masks" / f"{name.case}.nii.gz", case.mask, case.grid)
    return Entry(name.case, name.patient, image, written, extra=facts)


def series_facts(series: SeriesInfo, repair: Sequence[str]) -> dict[str, Any]:
    """What the manifest says about a series: its digest, kernel and the like, what was mended and what is odd."""
    stack = stack_series(series, repair=repair)
    odd = {"repaired": list(stack.repairs), "remarks": list(stack.remarks)}
    facts: dict[str, Any] = {"source_series": origin_of(series).digest[:16], **series.facts}
    return facts | {name: texts for name, texts in odd.items() if texts}


def series_key(series: SeriesInfo, *more: object) -> str:
    """Text that changes when the series' slices, their files' sizes or anything in `more` does."""
    slices = sorted((plane.uid, plane.frame) for plane in series.planes)
    sizes = sorted((file.member, file.path.stat().st_size) for file in series.files)
    return hashlib.sha256(repr((slices, sizes, more)).encode()).hexdigest()


def describe_left_out(scan: SeriesScan) -> tuple[str, ...]:
    """What was found apart from the CT series, one line per reason."""
    return tuple(f"left out: {reason} ({count})" for reason, count in sorted(scan.left_out.items()))


def describe_remarks(entries: Sequence[Entry]) -> tuple[str, ...]:
    """What is odd about the series of cases, one line each."""
    return tuple(f"{entry.id}: {remark}" for entry in entries for remark in (entry.extra or {}).get("remarks", ()))


def describe_shared(scan: SeriesScan) -> tuple[str, ...]:
    """Says when slices of several patients or studies have one series UID; they are never put together."""
    text = f"{scan.shared_uids} series share their UID with one of another patient or study; each is a case of its own"
    return (text,) if scan.shared_uids else ()


def _ingest(request: IngestRequest, regions: Regions, kind: str) -> tuple[Manifest, IngestResult]:
    assert request.input is not None
    scan = find_series(request.input)
    names = name_cases(origins_of(scan.series), request.output, keep_ids=request.options["keep_ids"])
    jobs, lonely = [], 0
    for series, name in zip(scan.series, names, strict=True):
        own = scan.annotations_of(series)
        if own or not scan.annotations:
            jobs.append(_job(series, name, own, regions))
        else:
            lonely += 1
    made = make_cases(jobs, request.output, title=kind, workers=request.workers, shard=request.shard)
    notes = (*describe_left_out(scan), *describe_shared(scan), *describe_remarks(made.entries))
    if lonely:
        notes += (f"left out: a series to which no structure set or segmentation refers ({lonely})",)
    labels = dict(enumerate(regions.patterns, start=1))
    return Manifest(request.output.resolve().name, kind, made.entries, labels), replace(made, notes=notes)


def _job(series: SeriesInfo, name: CaseName, annotations: Sequence[Annotation], regions: Regions) -> CaseJob:
    stats = [annotation.file.path.stat() for annotation in annotations]
    key = series_key(series, regions, [(stat.st_size, stat.st_mtime_ns) for stat in stats])
    return CaseJob(name.case, key, partial(make_case, series, name, annotations=annotations, regions=regions))


def _labelled(series: SeriesInfo, annotations: Sequence[Annotation], regions: Regions) -> tuple[Mask, dict[str, Any]]:
    """The mask with the values 1, 2, … of the patterns, and what the manifest says of the regions in it.

    Raises:
        LabelError: when no region matches or those that do hold no voxel.
    """
    parts = [_found(series, annotations, pattern, regions) for pattern in regions.patterns.values()]
    names = [region for part in parts for region in part.masks]
    if not names:
        known = ", ".join(sorted({name for annotation in annotations for name in _region_names(annotation, series)}))
        wanted = "; ".join(str(pattern) for pattern in regions.patterns.values())
        raise LabelError(
            "no region matches", facts={"series": series, "roi": wanted, "known": known or "none with contours"}
        )
    mask = np.zeros_like(next(mask for part in parts for mask in part.masks.values()))
    for value, part in reversed(list(enumerate(parts, start=1))):
        for region in part.masks.values():
            mask[region > 0] = value
    if not mask.any():
        raise LabelError("the regions hold no voxel", facts={"series": series, "regions": ", ".join(names)})
    return mask, {"regions": names, **_border_facts(parts, regions.border)}


def _border_facts(parts: Sequence[Found], border: Border) -> dict[str, Any]:
    """What the pixels on contours counted as, which changes sizes; where nobody decided, the regions that have them."""
    if border != "auto":
        return {"contour_border": border}
    names = sorted({name for part in parts for name in part.through_centres})
    return {"contour_border_included": names} if names else {}


def _found(series: SeriesInfo, annotations: Sequence[Annotation], pattern: str | None, regions: Regions) -> Found:
    """The regions that match, from structure sets and, where these have none, from segmentations."""
    pattern = _only_region(annotations, series) if pattern is None else pattern
    for kind in ("RTSTRUCT", "SEG"):
        masks: dict[str, Mask] = {}
        through_centres: list[str] = []
        for number, annotation in enumerate((one for one in annotations if one.kind == kind), start=1):
            with contextlib.suppress(LabelError):
                found = _read(annotation, series, pattern, regions)
                masks |= {
                    f"{name} of file {number}" if name in masks else name: found.masks[name] for name in found.masks
                }
                through_centres += found.through_centres
        if masks:
            return Found(masks, tuple(through_centres))
    return Found({})


def _read(annotation: Annotation, series: SeriesInfo, pattern: str, regions: Regions) -> Found:
    if annotation.kind == "SEG":
        return Found(read_dicom_seg(annotation.file, series, segment=pattern, repair=regions.repair))
    drawn = read_regions(annotation.file, series, roi=pattern, repair=regions.repair, border=regions.border)
    through_centres = tuple(region.name for region in drawn if region.through_centres)
    return Found({region.name: region.mask for region in drawn}, through_centres)


def _only_region(annotations: Sequence[Annotation], series: SeriesInfo) -> str:
    """The pattern of the only region there is.

    Raises:
        LabelError: when there are several.
    """
    names = sorted({name for annotation in annotations for name in _region_names(annotation, series)})
    if len(names) > 1:
        raise LabelError(
            "several regions could be the mask",
            facts={"series": series, "known": ", ".join(names)},
            hint="choose with --roi, e.g. --roi 'GTV.*', or keep several as labels: --roi 'tumour=GTV.*;lung=Lung.*'",
        )
    return re.escape(names[0]) if names else ".*"


def _region_names(annotation: Annotation, series: SeriesInfo) -> list[str]:
    if annotation.kind == "SEG":
        return read_segment_labels(annotation.file)
    return read_region_names(annotation.file, series)


def _union(masks: Mapping[str, Mask]) -> Mask:
    return np.asarray(np.logical_or.reduce(list(masks.values())), dtype=np.uint8)
