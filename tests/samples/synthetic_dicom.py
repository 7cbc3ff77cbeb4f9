"""Makes small CT series with pydicom alone, so that reading is tested against files that segpipe did not write."""

from pathlib import Path

import numpy as np
from pydicom import config
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
AXIAL = np.diag([0.8, 0.7, 2.5, 1.0])
PATIENT = "Secret^Name"


def thorax(shape=(40, 36, 9), seed=3):
    """HU (x, y, z) without any symmetry, so that every flip or swap of axes is seen."""
    values = np.random.default_rng(seed).integers(-1000, 400, shape)
    values[3:9, 4:7, 2:5] = 40
    return values.astype(np.int16)


def oblique(seed=1):
    """An affine (LPS+) with spacing 0.8, 0.7, 2.5 mm, rotated about all three axes, right-handed."""
    from scipy.spatial.transform import Rotation

    affine = AXIAL.copy()
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() @ AXIAL[:3, :3]
    affine[:3, 3] = [-101.5, 33.25, -47.125]
    return affine


def ct_slices(hu_xyz, affine_lps=AXIAL, *, slope=1, intercept=-1024, signed=False):
    """One data set per slice, ascending along z of the affine."""
    shared = {"study": generate_uid(), "series": generate_uid(), "frame": generate_uid()}
    return [_slice(hu_xyz[:, :, k], affine_lps, k, shared, (slope, intercept, signed)) for k in range(hu_xyz.shape[2])]


def set_pixels(dataset, hu_xy):
    """Stores HU (x, y) with the rescaling and sign that the data set already has."""
    stored = np.rint((hu_xy.T - float(dataset.RescaleIntercept)) / float(dataset.RescaleSlope))
    dataset.PixelData = stored.astype(np.int16 if dataset.PixelRepresentation else np.uint16).tobytes()


def save(datasets, folder, *, names=None):
    """Writes each data set to its own file, in an order of names that says nothing of the place."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(len(datasets))
    for number, dataset in zip(order, datasets, strict=True):
        name = names[number] if names else f"IM{number:04d}"
        dataset.save_as(folder / name, enforce_file_format=True)
    return folder


def enhanced_ct(hu, affine):
    """An enhanced CT whose frames are stored in a shuffled order, each with its own intercept."""
    slices = ct_slices(hu, affine)
    whole = slices[0]
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    order = np.random.default_rng(2).permutation(len(slices))
    frames, pixels = [], []
    for number in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = slices[number].ImagePositionPatient
        frame.PlanePositionSequence = [position]
        intercept = -1024 - 3 * int(number)
        transformation = Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = "1", intercept, "HU"
        frame.PixelValueTransformationSequence = [transformation]
        frames.append(frame)
        pixels.append((hu[:, :, number].T.astype(np.int32) - intercept).astype(np.uint16).tobytes())
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = whole.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], frames
    whole.NumberOfFrames, whole.PixelData = len(frames), b"".join(pixels)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(whole, name)
    return whole


def set_odd(datasets, **texts):
    """Gives attributes values that their kind does not allow, as foreign software writes them: without a word of it."""
    for dataset in datasets:
        if hasattr(dataset, "file_meta"):
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # which does not write an attribute's kind
        for keyword, text in texts.items():
            element = DataElement(tag_for_keyword(keyword), "LO", text, validation_mode=config.IGNORE)
            dataset[element.tag] = element
    return datasets


def other_object(sop_class, modality, **attributes):
    """A DICOM file of another kind with no pixels, e.g. an RTPLAN."""
    dataset = _empty(sop_class)
    dataset.Modality = modality
    dataset.SeriesInstanceUID = generate_uid()
    dataset.StudyInstanceUID = generate_uid()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def _empty(sop_class):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = PATIENT, "SECRET-ID"
    dataset.PatientBirthDate, dataset.PatientSex = "19500101", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = dataset.AcquisitionDate = "20200102"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = dataset.AcquisitionTime = "030405"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    return dataset


def _slice(hu_xy, affine_lps, k, shared, pixels):
    dataset = _empty(CT_IMAGE)
    dataset.Modality, dataset.Manufacturer, dataset.ManufacturerModelName = "CT", "Maker", "Model"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = shared["study"], shared["series"]
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = shared["frame"], ""
    dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.InstanceNumber = 1, 1, 500 - k
    dataset.KVP, dataset.ConvolutionKernel, dataset.BodyPartExamined = "120", "B30f", "CHEST"
    dataset.PatientPosition = "HFS"
    _set_geometry(dataset, hu_xy, affine_lps, k)
    slope, intercept, signed = pixels
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(signed)
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = str(slope), str(intercept), "HU"
    set_pixels(dataset, hu_xy)
    return dataset


def _set_geometry(dataset, hu_xy, affine_lps, k):
    spacing = np.linalg.norm(affine_lps[:3, :3], axis=0)
    directions = affine_lps[:3, :2] / spacing[:2]
    position = affine_lps[:3, 3] + k * affine_lps[:3, 2]
    dataset.Columns, dataset.Rows = hu_xy.shape
    dataset.PixelSpacing = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"]
    dataset.SliceThickness = f"{spacing[2]:.4f}"
    dataset.ImageOrientationPatient = [f"{value:.9f}" for value in directions.T.ravel()]
    dataset.ImagePositionPatient = [f"{value:.6f}" for value in position]


def read_with_sitk(folder: Path, series_uid=""):
    """The same series by ITK and GDCM: HU (x, y, z) and the affine in LPS+."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series_uid))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine
