"""Mutated DICOM: every file is read or refused, never believed; changed facts change no voxel, and nobody is quoted."""

import itertools

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from segpipe.io.dicom.objects import Derivation, FindingMap, Maker
from segpipe.io.dicom.rtstruct.reading import read_region_names, read_rtstruct
from segpipe.io.dicom.seg.reading import read_dicom_seg, read_segment_labels
from segpipe.io.dicom.seg.writing import write_dicom_seg
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.io.quiet import quiet_libraries
from segpipe.labels import NODULE
from tests.fuzz.mutations import apply, edits, fuzz, little_memory, read_or_refuse, texts
from tests.samples.synthetic_dicom import ct_slices, save, set_odd, thorax
from tests.samples.synthetic_structures import structure_set

SHAPE = (9, 8, 7)
VOXELS_DEPEND_ON = (
    "SOPClassUID",
    "SOPInstanceUID",
    "Modality",
    "ImageType",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "PixelData",
)
FACTS = (
    "AccessionNumber",
    "AcquisitionDate",
    "AcquisitionNumber",
    "AcquisitionTime",
    "BodyPartExamined",
    "ContentDate",
    "ConvolutionKernel",
    "FrameOfReferenceUID",
    "InstanceNumber",
    "KVP",
    "Manufacturer",
    "PatientAge",
    "PatientSex",
    "PatientWeight",
    "PositionReferenceIndicator",
    "ReferencedSeriesSequence",
    "ReferringPhysicianName",
    "SeriesNumber",
    "SliceThickness",
    "SpecificCharacterSet",
    "StudyDate",
    "TemporalPositionIdentifier",
    "WindowCenter",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(ct_slices(thorax(SHAPE)), tmp_path_factory.mktemp("fuzz") / "ct")


@pytest.fixture(scope="module")
def series(folder):
    return find_series(folder).series[0]


@pytest.fixture(params=[ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
def slices(request):
    datasets = ct_slices(thorax(SHAPE))
    for dataset in datasets:
        dataset.file_meta.TransferSyntaxUID = request.param
    return datasets


def _read(folder):
    scan = find_series(folder)
    return [read_or_refuse(lambda series=series: read_series(series).array) for series in scan.series]


def test_a_series_with_a_mutated_file(tmp_path, slices, capfd):
    folder = save(slices, tmp_path / "ct")
    file = min(folder.iterdir())
    valid = file.read_bytes()
    place = next(
        k for k, dataset in enumerate(slices) if dataset.SOPInstanceUID == pydicom.dcmread(file).SOPInstanceUID
    )

    @fuzz(0.3)
    @given(edits())
    def check(changes):
        file.write_bytes(apply(changes, valid))
        for array in read_or_refuse(lambda: _read(folder)) or []:
            if array is not None and array.shape == SHAPE:
                others = [k for k in range(SHAPE[2]) if k != place]
                np.testing.assert_array_equal(array[:, :, others], thorax(SHAPE)[:, :, others])

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("whole_series", [True, False], ids=["all slices", "one slice"])
def test_facts_of_any_text_change_no_voxel(tmp_path, whole_series, capfd):
    numbers = itertools.count()

    @fuzz(0.1)
    @given(st.dictionaries(st.sampled_from(FACTS), texts, min_size=1, max_size=4))
    def check(odd):
        slices = ct_slices(thorax(SHAPE))
        folder = tmp_path / f"{next(numbers)}"
        with quiet_libraries():
            set_odd(slices if whole_series else slices[:1], **odd)
            try:
                save(slices, folder)
            except Exception:  # pydicom does not write some of it
                return
        (array,) = _read(folder)
        np.testing.assert_array_equal(array, thorax(SHAPE))

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def test_what_voxels_depend_on_is_read_or_refused_whatever_its_text(tmp_path, capfd):
    numbers = itertools.count()

    @fuzz(0.2)
    @given(st.dictionaries(st.sampled_from(VOXELS_DEPEND_ON[:-1]), texts, min_size=1, max_size=3), st.booleans())
    def check(odd, everywhere):
        slices = ct_slices(thorax(SHAPE))
        folder = tmp_path / f"{next(numbers)}"
        with quiet_libraries():
            set_odd(slices if everywhere else slices[:1], **odd)
            try:
                save(slices, folder)
            except Exception:
                return
        read_or_refuse(lambda: _read(folder))

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def _structures(series_file):
    source = pydicom.dcmread(series_file)
    boxes = [(((1.5, 1.5), (5.5, 4.5)), 2), (((1.5, 1.5), (5.5, 4.5)), 3)]
    return structure_set([source], [("GTV", boxes), ("Lung", boxes[:1])])


def test_a_mutated_structure_set(tmp_path, folder, series, capfd):
    path = save([_structures(next(folder.iterdir()))], tmp_path, names=["rt.dcm"]) / "rt.dcm"
    valid = path.read_bytes()

    @fuzz(0.6)
    @given(edits())
    def check(changes):
        path.write_bytes(apply(changes, valid))
        read_or_refuse(lambda: read_region_names(path, series))
        for mask in (read_or_refuse(lambda: read_rtstruct(path, series)) or {}).values():
            assert mask.shape == SHAPE
            assert mask.max() <= 1

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def test_a_region_is_right_or_refused_whatever_is_said_of_another(tmp_path, folder, series, capfd):
    source = next(folder.iterdir())
    (tmp_path / "rt").mkdir()
    expected = np.zeros(SHAPE, np.uint8)
    expected[2:6, 2:5, 2:4] = 1
    places = {
        "region": lambda structures: structures.StructureSetROISequence[1],
        "contour": lambda structures: structures.ROIContourSequence[1].ContourSequence[0],
        "whole": lambda structures: structures,
    }
    keywords = {
        "region": ("ROINumber", "ROIName", "ReferencedFrameOfReferenceUID", "ROIGenerationAlgorithm"),
        "contour": ("ContourData", "NumberOfContourPoints", "ContourGeometricType", "ContourNumber"),
        "whole": ("StructureSetLabel", "StructureSetDate", "PatientID", "ApprovalStatus", "SpecificCharacterSet"),
    }

    @fuzz(0.4)
    @given(st.sampled_from(sorted(places)), st.integers(0, 3), texts)
    def check(where, which, text):
        structures = _structures(source)
        with quiet_libraries():
            set_odd([places[where](structures)], **{keywords[where][which]: text})
            try:
                save([structures], tmp_path / "rt", names=["rt.dcm"])
            except Exception:
                return
        masks = read_or_refuse(lambda: read_rtstruct(tmp_path / "rt" / "rt.dcm", series, roi="GTV"))
        if masks is not None and not text.casefold().startswith("gtv"):
            np.testing.assert_array_equal(masks["GTV"], expected)

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_mutated_segmentation(tmp_path, series, kind, capfd):
    findings = np.zeros(SHAPE, np.uint8)
    findings[2:6, 2:5, 2:4], findings[7, 6, 5] = 1, 2
    maker = Maker("m", "1", "0123abcd", "0.1")
    derivation = Derivation(series, (NODULE,), maker)
    path = write_dicom_seg(tmp_path / "seg.dcm", [FindingMap(NODULE, findings)], derivation=derivation, kind=kind)
    valid = path.read_bytes()

    @fuzz(0.5)
    @given(edits())
    def check(changes):
        path.write_bytes(apply(changes, valid))
        read_or_refuse(lambda: read_segment_labels(path))
        for mask in (read_or_refuse(lambda: read_dicom_seg(path, series)) or {}).values():
            assert mask.shape == SHAPE
            assert mask.max() <= 1

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""


def test_a_mutated_zip_and_dicomdir(tmp_path, folder, capfd):
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    valid = (tmp_path / "a.zip").read_bytes()

    @fuzz(0.5)
    @given(edits())
    def check(changes):
        (tmp_path / "a.zip").write_bytes(apply(changes, valid))
        for array in read_or_refuse(lambda: _read(tmp_path / "a.zip")) or []:
            assert array is None or array.shape[:2] == SHAPE[:2]

    with little_memory():
        check()
    assert "".join(capfd.readouterr()) == ""
