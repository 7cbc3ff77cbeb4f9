"""Folders of DICOM as a hospital hands them over: a thorax and the structure set drawn on it, and their ingestion."""

import gzip

from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.registry import SOURCES
from tests.samples.synthetic_dicom import ct_slices, save, thorax
from tests.samples.synthetic_structures import structure_set

BOX = (((2.5, 3.5), (8.5, 9.5)), 3)  # 36 voxels
SMALL = (((6.5, 3.5), (10.5, 5.5)), 3)  # 8 voxels, 4 of them in BOX
FAR = (((20.5, 20.5), (22.5, 22.5)), 6)  # 4 voxels


def patient_folder(folder, rois, *, patient="SECRET-ID", seed=3, spoil=None):
    """Writes a series and, with name → (pixel corners, slice) of boxes, its structure set; returns the slices."""
    slices = ct_slices(thorax(seed=seed))
    for dataset in slices:
        dataset.PatientID = patient
    if rois is not None:
        save([structure_set(slices, [(name, [box]) for name, box in rois.items()])], folder / "rt")
    if spoil:
        spoil(slices)
    save(slices, folder / "ct")
    return slices


def ingest_folder(tmp_path, kind="dicom", **options):
    """Ingests `in` to `data` below a folder."""
    given = {flag.name: flag.default for flag in SOURCES[kind].flags} | options
    request = IngestRequest(tmp_path / "data", tmp_path / "in", workers=0, options=given)
    return SOURCES[kind].read(request)


def all_text(folder):
    """Every name and every byte below a folder, compressed files opened."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    contents = (path.read_bytes() for path in files)
    opened = [gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content for content in contents]
    return b"\n".join([*(str(path.relative_to(folder)).encode() for path in files), *opened])
