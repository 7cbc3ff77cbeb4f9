"""Structure sets with boxes as regions, made with pydicom alone."""

import numpy as np
from pydicom.dataset import Dataset

from tests.samples.synthetic_dicom import AXIAL, other_object


def structure_set(slices, rois, affine=AXIAL):
    """An RTSTRUCT on the slices with pairs of a ROI's name and its contours, each (pixel corners, slice number)."""
    dataset = other_object("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT", PatientID=slices[0].PatientID)
    frame, study, series = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = slices[0].SeriesInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = slices[0].FrameOfReferenceUID, [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(rois, start=1):
        region, drawn = Dataset(), Dataset()
        region.ROINumber, region.ROIName = number, name
        region.ReferencedFrameOfReferenceUID = slices[0].FrameOfReferenceUID
        drawn.ReferencedROINumber = number
        drawn.ContourSequence = [contour(corners_in_lps(*one, affine)) for one in contours]
        dataset.StructureSetROISequence.append(region)
        dataset.ROIContourSequence.append(drawn)
    return dataset


def contour(points, kind="CLOSED_PLANAR"):
    """One contour through points in LPS."""
    dataset = Dataset()
    dataset.ContourGeometricType = kind
    dataset.NumberOfContourPoints = len(points)
    dataset.ContourData = [f"{value:.4f}" for value in points.ravel()]
    return dataset


def corners_in_lps(corners, place, affine):
    """World points (LPS) of a rectangle given by two pixel corners on a slice."""
    (x0, y0), (x1, y1) = corners
    pixels = np.array([[x0, y0, place, 1], [x1, y0, place, 1], [x1, y1, place, 1], [x0, y1, place, 1]], float)
    return (pixels @ affine.T)[:, :3]
