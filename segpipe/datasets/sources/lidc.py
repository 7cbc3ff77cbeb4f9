"""Makes a data set of LIDC-IDRI: each reader's mask, their consensus, and all ratings."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.case_names import CaseName, name_cases, origins_of
from segpipe.datasets.sources.dicom import (
    describe_left_out,
    describe_remarks,
    describe_shared,
    parse_repair,
    series_facts,
    series_key,
    store_case,
)
from segpipe.errors import ConfigError, DatasetError, SegpipeError
from segpipe.geometry import Grid
from segpipe.io.dicom.lidc_xml import Mark, Reading, consensus, mark_centre_mm, mark_masks, read_lidc_xml
from segpipe.io.dicom.series.description import SeriesInfo
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.io.images.volumes import write_volume
from segpipe.lesions import label_lesions
from segpipe.system.files.walking import files_below

Mask = NDArray[np.uint8]


@dataclass(frozen=True)
class LidcChoice:
    """Share of readers that makes the consensus, and the defects of series that may be mended."""

    agreement: float
    repair: tuple[str, ...]


def ingest_lidc(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """Ingests series and readings below the input; series without a reading are left out.

    Raises:
        DatasetError: when there is no reading at all.
        ConfigError: for an agreement that is no share.
    """
    assert request.input is not None
    choice = LidcChoice(_share(request.options["agreement"]), parse_repair(request.options["repair"]))
    scan = find_series(request.input)
    readings, notes = _find_readings(Path(request.options["xml"] or request.input))
    names = name_cases(origins_of(scan.series), request.output, keep_ids=request.options["keep_ids"])
    jobs = [
        _job(series, name, readings[series.identity.series_uid], choice)
        for series, name in zip(scan.series, names, strict=True)
        if series.identity.series_uid in readings
    ]
    made = make_cases(jobs, request.output, title="lidc-idri", workers=request.workers, shard=request.shard)
    lonely = len(scan.series) - len(jobs)
    unread = (f"left out: a series without reading ({lonely})",) if lonely else ()
    manifest = Manifest(request.output.resolve().name, "lidc-idri", made.entries, {1: "nodule"})
    of_the_scans = (*describe_left_out(scan), *describe_shared(scan), *describe_remarks(made.entries))
    return manifest, replace(made, notes=(*of_the_scans, *notes, *unread))


def make_lidc_case(series: SeriesInfo, name: CaseName, reading: Reading, choice: LidcChoice, folder: Path) -> Entry:
    """Writes scan, consensus and one mask per reader; the marks with their ratings go into the entry.

    Raises:
        SegpipeError: for a bad case.
    """
    volume = read_series(series, repair=choice.repair)
    masks = [np.zeros(volume.grid.shape, dtype=np.uint8, order="F") for _ in range(reading.readers)]
    marks = list(_marks(series, reading, masks, choice.repair))
    facts = {
        **series_facts(series, choice.repair),
        "readers": reading.readers,
        "agreement": choice.agreement,
        "marks": _number_nodules(marks, masks, volume.grid),
        "below_3mm": [_point(mark, series) for mark in reading.marks if mark.below_3mm],
        "reader_masks": [f"readers/{name.case}_{number}.nii.gz" for number in range(1, reading.readers + 1)],
    }
    for file, mask in zip(facts["reader_masks"], masks, strict=True):
        write_volume(folder / file, mask, volume.grid)
    return store_case(name, volume, consensus(masks, agreement=choice.agreement), folder, extra=facts)


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise ConfigError("--agreement must be a share of the readers, above 0 and at most 1", facts={"found": value})
    return value


def _find_readings(folder: Path) -> tuple[dict[str, Reading], list[str]]:
    """Series UID → reading, and notes on files that are none."""
    files = sorted(files_below(folder, "*.xml"))
    readings: dict[str, Reading] = {}
    foreign = again = 0
    for file in files:
        try:
            reading = read_lidc_xml(file)
        except SegpipeError:
            foreign += 1
            continue
        again += reading.series_uid in readings
        readings[reading.series_uid] = reading
    if not readings:
        raise DatasetError(
            "no reading of a LIDC series was found",
            facts={"folder": folder, "XML files": len(files)},
            hint="unpack LIDC-XML-only.zip and name its folder with --xml",
        )
    notes = [f"left out: an XML file that is no reading of a CT series ({foreign})"] if foreign else []
    return readings, notes + ([f"left out: an earlier reading of a series that has two ({again})"] if again else [])


def _job(series: SeriesInfo, name: CaseName, reading: Reading, choice: LidcChoice) -> CaseJob:
    marks = [
        (mark.reader, sorted(mark.ratings.items()), [(o.z_mm, o.inclusion, o.points.tolist()) for o in mark.outlines])
        for mark in reading.marks
    ]
    key = series_key(series, choice, reading.readers, marks)
    return CaseJob(name.case, key, partial(make_lidc_case, series, name, reading, choice))


def _marks(
    series: SeriesInfo, reading: Reading, masks: list[Mask], repair: tuple[str, ...]
) -> Iterator[tuple[Mark, NDArray[np.int64]]]:
    """Adds every mark to its reader's mask; yields it with its voxels (n, 3), without those that hold none."""
    for mark, mask in mark_masks(reading, series, repair=repair):
        masks[mark.reader - 1] |= mask
        voxels = np.argwhere(mask)
        if len(voxels):
            yield mark, voxels


def _number_nodules(marks: list[tuple[Mark, NDArray[np.int64]]], masks: list[Mask], grid: Grid) -> list[dict[str, Any]]:
    """One row per mark; marks of several readers that touch belong to one nodule."""
    nodules = label_lesions(np.logical_or.reduce(masks))[0]
    return [
        {
            "nodule": int(nodules[tuple(voxels[0])]),
            "reader": mark.reader,
            "volume_mm3": round(len(voxels) * grid.voxel_volume_mm3, 2),
            "ratings": _ratings(mark.ratings),
        }
        for mark, voxels in marks
    ]


def _ratings(ratings: Mapping[str, int]) -> dict[str, int]:
    """Ratings under names in one style, e.g. `internal_structure`."""
    return {re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower(): value for name, value in ratings.items()}


def _point(mark: Mark, series: SeriesInfo) -> dict[str, Any]:
    return {"reader": mark.reader, "centre_mm": [round(mm, 2) for mm in mark_centre_mm(mark, series)]}
