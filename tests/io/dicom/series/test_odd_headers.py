"""Headers of bad software: garbled facts cost nothing, two patients never become one scan, no path leads elsewhere."""

import zipfile

import pytest
from numpy.testing import assert_array_equal
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from segpipe.errors import ImageError
from segpipe.io.dicom.series.series import find_series, read_series
from segpipe.io.quiet import quiet_libraries
from tests.samples.synthetic_dicom import AXIAL, ct_slices, save, set_odd, thorax
from tests.samples.synthetic_structures import structure_set

BOX = ((2.5, 3.5), (8.5, 9.5))


def _above(slices, series_uid):
    """A scan that goes on where another one ends, and has its series UID."""
    affine = AXIAL.copy()
    affine[2, 3] = slices * AXIAL[2, 2]
    datasets = ct_slices(thorax(seed=8), affine)
    for dataset in datasets:
        dataset.SeriesInstanceUID = series_uid
    return datasets


@pytest.mark.parametrize(
    "differs",
    [
        {"PatientID": "OTHER"},
        {"StudyInstanceUID": "1.2.3"},
        {"PatientName": "Other^Name"},
        {"PatientBirthDate": "19600606"},
        {"IssuerOfPatientID": "OTHER HOSPITAL"},
    ],
)
def test_slices_of_two_people_with_one_series_uid_are_two_scans(tmp_path, differs):
    first = ct_slices(thorax())
    second = _above(9, first[0].SeriesInstanceUID)
    for dataset in second:
        dataset.StudyInstanceUID = first[0].StudyInstanceUID
        for keyword, value in differs.items():
            setattr(dataset, keyword, value)
    save(first, tmp_path / "a")
    save(second, tmp_path / "b")

    scan = find_series(tmp_path)

    assert_array_equal(read_series(scan.series[0]).array, thorax())
    assert_array_equal(read_series(scan.series[1]).array, thorax(seed=8))
    assert scan.shared_uids == 2


def test_the_slices_of_one_patient_stay_together(tmp_path):
    first = ct_slices(thorax())
    second = _above(9, first[0].SeriesInstanceUID)
    for dataset in second:
        dataset.StudyInstanceUID = first[0].StudyInstanceUID
        dataset.PatientName = "SECRET^NAME"  # as another system spells it

    (series,) = find_series(save(first + second, tmp_path, names=[f"{k}" for k in range(18)])).series

    assert len(series.planes) == 18


def test_a_structure_set_belongs_to_its_own_patient_alone(tmp_path):
    first = ct_slices(thorax())
    second = _above(9, first[0].SeriesInstanceUID)
    for dataset in second:
        dataset.PatientID = "OTHER"
    structures = structure_set(first, [("GTV", [(BOX, 3)])])
    structures.StudyInstanceUID = first[0].StudyInstanceUID
    save(first, tmp_path / "a")
    save(second, tmp_path / "b")
    save([structures], tmp_path / "rt")

    scan = find_series(tmp_path)

    assert [len(scan.annotations_of(series)) for series in scan.series] == [1, 0]


@pytest.mark.parametrize(
    ("keyword", "fact"),
    [
        ("SliceThickness", "slice_thickness_mm"),
        ("InstanceNumber", None),
        ("AcquisitionNumber", None),
        ("NumberOfFrames", None),
        ("AcquisitionTime", None),
        ("TemporalPositionIdentifier", None),
        ("SpecificCharacterSet", None),
        ("PatientBirthDate", None),
        ("ReferencedSeriesSequence", None),
        ("WindowCenter", None),
        ("KVP", None),
    ],
)
@pytest.mark.parametrize("garbled", ["5,0", "abc", "1\\2\\3", "é" * 40])
def test_a_garbled_fact_is_left_out_and_costs_nothing(tmp_path, keyword, fact, garbled):
    with quiet_libraries():
        save(set_odd(ct_slices(thorax()), **{keyword: garbled}), tmp_path)

    (series,) = find_series(tmp_path).series

    assert_array_equal(read_series(series).array, thorax())
    assert fact not in series.facts
    assert series.facts["kernel"] == "B30f"


@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"])
@pytest.mark.parametrize("garbled", ["5,0", "abc", "", "0\\0", "nan\\nan\\nan", "inf"])
def test_garbled_geometry_costs_its_own_slice_alone(tmp_path, keyword, garbled):
    slices = ct_slices(thorax())
    set_odd(slices[-1:], **{keyword: garbled})

    scan = find_series(save(slices, tmp_path))

    assert_array_equal(read_series(scan.series[0]).array, thorax()[:, :, :8])
    assert sum(scan.left_out.values()) == 1


@pytest.mark.parametrize(("keyword", "value"), [("Rows", 0), ("Columns", 0), ("Rows", None), ("Columns", None)])
def test_an_image_without_a_size_is_no_slice(tmp_path, keyword, value):
    slices = ct_slices(thorax())
    setattr(slices[-1], keyword, value)

    assert len(find_series(save(slices, tmp_path)).series[0].planes) == 8


def test_a_damaged_zip_costs_itself_alone(tmp_path):
    save(ct_slices(thorax()), tmp_path / "good")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and then nothing")

    scan = find_series(tmp_path)

    assert len(scan.series) == 1
    assert scan.left_out == {"a damaged zip file": 1}


def test_a_zip_whose_member_claims_more_than_dicom_can_hold_is_not_read(tmp_path):
    save(ct_slices(thorax()), tmp_path / "good")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        archive.writestr("a.dcm", b"x" * 200)
    content = (tmp_path / "bomb.zip").read_bytes()
    size = (200).to_bytes(4, "little")
    (tmp_path / "bomb.zip").write_bytes(content.replace(size, (2**32 - 1).to_bytes(4, "little")))

    scan = find_series(tmp_path)

    assert len(scan.series) == 1
    assert sum(scan.left_out.values()) == 1


def _dicomdir(file, *file_ids):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    directory.DirectoryRecordSequence = []
    for file_id in file_ids:
        record = Dataset()
        record.add_new("ReferencedFileID", "UC", file_id)  # which may be long
        directory.DirectoryRecordSequence.append(record)
    directory.save_as(file, enforce_file_format=True)
    return file


@pytest.mark.parametrize(
    "leads_out", ["{outside}", ["{outside}"], ["..", "ct", "IM0000"], ["sub", "..", "..", "ct", "IM0000"], "C:\\ct"]
)
def test_a_dicomdir_never_leaves_its_folder(tmp_path, leads_out):
    outside = save(ct_slices(thorax()), tmp_path / "ct") / "IM0000"
    (tmp_path / "medium").mkdir()
    named = [part.format(outside=outside) for part in ([leads_out] if isinstance(leads_out, str) else leads_out)]
    dicomdir = _dicomdir(tmp_path / "medium" / "DICOMDIR", named)

    with pytest.raises(ImageError, match="lists files outside its folder") as caught:
        find_series(dicomdir)

    assert caught.value.facts == {"listed": 1, "outside": 1}


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 60])
def test_a_garbled_dicomdir_is_reported(tmp_path, content):
    (tmp_path / "DICOMDIR").write_bytes(content)

    with pytest.raises(ImageError, match="DICOMDIR"):
        find_series(tmp_path / "DICOMDIR")
