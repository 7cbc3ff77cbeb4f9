"""Folders of DICOM as a hospital hands them over: a thorax and the structure set drawn on it, and their ingestion."""

import gzip

import numpy as np
from pydicom.dataset import Dataset

from segpipe.datasets.sources import SOURCES, IngestRequest
from tests.synthetic_dicom import AXIAL, ct_slices, other_object, save, thorax


def contour_of(corners, place):
    (x0, y0), (x1, y1) = corners
    pixels = np.array([[x0, y0, place, 1], [x1, y0, place, 1], [x1, y1, place, 1], [x0, y1, place, 1]], float)
    contour = Dataset()
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.ContourData = [f"{value:.4f}" for value in (pixels @ AXIAL.T)[:, :3].ravel()]
    return contour


def structures_of(slices, rois):
    """An RTSTRUCT with name → (pixel corners, slice) for one box each."""
    dataset = other_object("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", PatientID=slices[0].PatientID)
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = slices[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = slices[0].FrameOfReferenceUID, [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, (corners, place)) in enumerate(rois.items(), start=1):
        region, drawn = Dataset(), Dataset()
        region.ROINumber, region.ROIName = number, name
        drawn.ReferencedROINumber, drawn.ContourSequence = number, [contour_of(corners, place)]
        dataset.StructureSetROISequence.append(region)
        dataset.ROIContourSequence.append(drawn)
    return dataset


BOX = (((2.5, 3.5), (8.5, 9.5)), 3)  # 36 voxels
SMALL = (((6.5, 3.5), (10.5, 5.5)), 3)  # 8 voxels, 4 of them in BOX
FAR = (((20.5, 20.5), (22.5, 22.5)), 6)  # 4 voxels


def patient_folder(folder, rois, *, patient="SECRET-ID", seed=3, spoil=None):
    slices = ct_slices(thorax(seed=seed))
    for dataset in slices:
        dataset.PatientID = patient
    if rois is not None:
        save([structures_of(slices, rois)], folder / "rt")
    if spoil:
        spoil(slices)
    save(slices, folder / "ct")
    return slices


def ingest_folder(tmp_path, kind="dicom", **options):
    given = {flag.name: flag.default for flag in SOURCES[kind].flags} | options
    request = IngestRequest(tmp_path / "data", tmp_path / "in", workers=0, options=given)
    return SOURCES[kind].read(request)


def all_text(folder):
    """Every name and every byte below a folder, compressed files opened."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    contents = (path.read_bytes() for path in files)
    opened = [gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content for content in contents]
    return b"\n".join([*(str(path.relative_to(folder)).encode() for path in files), *opened])
