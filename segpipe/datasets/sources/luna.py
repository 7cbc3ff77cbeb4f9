"""Makes a data set of LUNA16, whose nodules are given by centre and diameter and so become spheres, marked as such."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segpipe.case import Volume
from segpipe.datasets.ingested_cases import CaseJob, IngestResult, make_cases
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.case_names import CaseName, Origin, digest_of, name_cases
from segpipe.datasets.sources.dicom import store_case
from segpipe.datasets.tables import read_rows
from segpipe.errors import DatasetError, GeometryError, SegpipeError
from segpipe.geometry import Grid, flip_ras_lps, to_voxel
from segpipe.io.images.volumes import read_volume
from segpipe.system.files.walking import files_below

_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Sphere:
    """A nodule as LUNA16 gives it: centre in mm, RAS+, and diameter in mm."""

    centre_mm: tuple[float, float, float]
    diameter_mm: float


def ingest_luna(request: IngestRequest) -> tuple[Manifest, IngestResult]:
    """Ingests the MetaImage scans below the input and `annotations.csv`; scans that it does not name have no nodule.

    Raises:
        DatasetError: when there is no scan or no usable annotations.csv.
    """
    assert request.input is not None
    scans = {
        file.stem: file for file in sorted(files_below(request.input, "*.mhd")) if "seg-lungs" not in str(file.parent)
    }
    if not scans:
        raise DatasetError(
            "no MetaImage scan (*.mhd) was found", facts={"folder": request.input}, hint="unzip subset0.zip … first"
        )
    spheres = _read_spheres(request.options["annotations"] or request.input / "annotations.csv")
    origins = [Origin(digest_of(uid), uid, {"series_uid": uid, "folder": str(scans[uid].parent)}) for uid in scans]
    names = name_cases(origins, request.output, keep_ids=request.options["keep_ids"])
    jobs = [_job(scans[uid], name, spheres.get(uid, ())) for uid, name in zip(scans, names, strict=True)]
    made = make_cases(jobs, request.output, title="luna16", workers=request.workers, shard=request.shard)
    return Manifest(request.output.resolve().name, "luna16", made.entries, {1: "nodule"}), made


def make_luna_case(file: Path, name: CaseName, spheres: Sequence[Sphere], folder: Path) -> Entry:
    """Writes a scan and a mask of spheres.

    Raises:
        SegpipeError: for a bad case.
    """
    volume = _read_scan(file)
    image = np.clip(np.rint(volume.array), _INT16.min, _INT16.max).astype(np.int16)
    facts = {
        "sphere": True,
        "spheres": [{"centre_mm": list(sphere.centre_mm), "diameter_mm": sphere.diameter_mm} for sphere in spheres],
        **_subset(file),
    }
    return store_case(name, Volume(image, volume.grid), paint(spheres, volume.grid), folder, extra=facts)


def paint(spheres: Sequence[Sphere], grid: Grid) -> NDArray[np.uint8]:
    """A mask of the voxels whose centre lies in a sphere; the voxel nearest to a sphere's centre always counts.

    Raises:
        GeometryError: when a sphere's centre lies outside the grid.
    """
    mask = np.zeros(grid.shape, dtype=np.uint8, order="F")
    for number, sphere in enumerate(spheres, start=1):
        centre = to_voxel(grid.affine, sphere.centre_mm)
        nearest = np.rint(centre).astype(int)
        if (nearest < 0).any() or (nearest >= grid.shape).any():
            raise GeometryError("a nodule lies outside its scan", facts={"nodule": number, "grid": grid})
        reach = np.ceil(sphere.diameter_mm / 2 / np.array(grid.spacing_mm)).astype(int)
        low, high = np.maximum(nearest - reach, 0), np.minimum(nearest + reach + 1, grid.shape)
        indices = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1)
        distance = np.linalg.norm((indices - centre) @ grid.affine[:3, :3].T, axis=-1)
        mask[tuple(map(slice, low, high))] |= (distance <= sphere.diameter_mm / 2).astype(np.uint8)
        mask[tuple(nearest)] = 1
    return mask


def _read_scan(file: Path) -> Volume:
    """Reads a scan; its file name is a UID, which messages leave out."""
    try:
        return read_volume(file)
    except SegpipeError as error:
        facts = {name: value for name, value in error.facts.items() if file.stem not in str(value)}
        raise type(error)(error.message, facts=facts, hint=error.hint) from None


def _read_spheres(file: Path) -> Mapping[str, list[Sphere]]:
    spheres: dict[str, list[Sphere]] = {}
    for number, row in enumerate(read_rows(file, required=_COLUMNS), start=2):
        try:
            *centre, diameter = (float(row[column]) for column in _COLUMNS[1:])
            if not np.isfinite(centre).all() or not 0 < diameter < math.inf:
                raise ValueError
            x, y, z = flip_ras_lps(centre)
            sphere = Sphere((float(x), float(y), float(z)), diameter)
        except ValueError:
            raise DatasetError("the table must hold numbers", facts={"table": file.name, "line": number}) from None
        spheres.setdefault(row["seriesuid"], []).append(sphere)
    return spheres


def _subset(file: Path) -> dict[str, int]:
    """LUNA16's own fold, 0 … 9, from the folder's name."""
    found = re.fullmatch(r"subset(\d)", file.parent.name)
    return {"subset": int(found[1])} if found else {}


def _job(file: Path, name: CaseName, spheres: Sequence[Sphere]) -> CaseJob:
    stats = [path.stat() for path in (file, *file.parent.glob(f"{file.stem}.*raw"))]
    key = repr((file.stem, [(stat.st_size, stat.st_mtime_ns) for stat in stats], spheres))
    return CaseJob(name.case, key, partial(make_luna_case, file, name, tuple(spheres)))
