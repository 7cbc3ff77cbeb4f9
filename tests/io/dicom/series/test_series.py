"""A series is read with the HU and the places that ITK sees, or refused with the numbers."""

import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG2MPML,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from segpipe.errors import ImageError
from segpipe.geometry import flip_ras_lps
from segpipe.io.dicom.series.series import find_series, read_series, read_source_datasets
from tests.samples.compressed_dicom import compress
from tests.samples.synthetic_dicom import (
    AXIAL,
    PATIENT,
    ct_slices,
    enhanced_ct,
    oblique,
    other_object,
    read_with_sitk,
    save,
    set_pixels,
    thorax,
)


def _read(folder, **options):
    (series,) = find_series(folder).series
    return read_series(series, **options)


@pytest.mark.parametrize("affine", [AXIAL, oblique(), oblique(seed=7)], ids=["axial", "oblique", "another"])
def test_reads_hu_and_places_as_itk_does(tmp_path, affine):
    folder = save(ct_slices(thorax(), affine), tmp_path / "a")

    volume = _read(folder)

    expected, itk_affine = read_with_sitk(folder)
    assert volume.array.dtype == np.int16
    assert_array_equal(volume.array, expected)
    assert_array_equal(volume.array, thorax())
    assert_allclose(flip_ras_lps(volume.grid.affine), affine, atol=1e-5)
    assert_allclose(itk_affine, affine, atol=1e-4)


def test_a_left_handed_series_is_stacked_along_the_normal_and_keeps_its_places(tmp_path):
    affine = AXIAL.copy()
    affine[2, 2] *= -1

    volume = _read(save(ct_slices(thorax(), affine), tmp_path / "a"))

    assert_array_equal(volume.array, thorax()[:, :, ::-1])
    assert_allclose(flip_ras_lps(volume.grid.affine)[:3, 3], [0, 0, -2.5 * 8])
    assert np.linalg.det(volume.grid.affine[:3, :3]) > 0


def test_slope_and_intercept_count_per_slice(tmp_path):
    slices = ct_slices(thorax())
    for number, dataset in enumerate(slices):
        dataset.RescaleSlope, dataset.RescaleIntercept = str(1 + number % 2), str(-1024 - 10 * number)
        set_pixels(dataset, 2 * (thorax()[:, :, number] // 2))

    volume = _read(save(slices, tmp_path / "a"))

    assert_array_equal(volume.array, 2 * (thorax() // 2))


def test_a_fractional_slope_is_rounded_to_whole_hu(tmp_path):
    slices = ct_slices(thorax(), slope=0.5, intercept=-1000.5)

    volume = _read(save(slices, tmp_path / "a"))

    assert np.abs(volume.array - thorax()).max() <= 1


@pytest.mark.parametrize(("signed", "padding"), [(True, -2000), (True, 63536), (False, 63536), (False, -2000)])
def test_the_padding_value_becomes_air_whatever_sign_its_writer_gave_it(tmp_path, signed, padding):
    hu = thorax()
    slices = ct_slices(hu, intercept=0 if signed else -1024, signed=signed)
    for number, dataset in enumerate(slices):
        stored = np.frombuffer(dataset.PixelData, np.int16 if signed else np.uint16).copy()
        stored[0] = -2000 if signed else 63536
        dataset.PixelData = stored.tobytes()
        dataset.add_new("PixelPaddingValue", "SS" if padding < 0 else "US", padding)
        hu[0, 0, number] = -1024

    assert_array_equal(_read(save(slices, tmp_path / "a")).array, hu)


def test_a_padding_range_becomes_air(tmp_path):
    hu = thorax()
    slices = ct_slices(hu, intercept=0, signed=True)
    for dataset in slices:
        dataset.add_new("PixelPaddingValue", "SS", -2000)
        dataset.add_new("PixelPaddingRangeLimit", "SS", -900)

    assert_array_equal(_read(save(slices, tmp_path / "a")).array, np.where(hu <= -900, -1024, hu))


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1],
    ids=["implicit", "big endian", "RLE", "JPEG-LS", "JPEG 2000", "JPEG lossless"],
)
@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_every_transfer_syntax_gives_the_same_hu(tmp_path, syntax, signed):
    slices = ct_slices(thorax(), signed=signed, intercept=0 if signed else -1024)
    folder = save([compress(dataset, syntax) for dataset in slices], tmp_path / "a")

    assert_array_equal(_read(folder).array, thorax())


JPEG_12 = Path(__file__).with_name("jpeg12_ct.dcm")


def _of_jpeg12(folder, change=lambda dataset: None):
    """Five slices like one that DCMTK compressed; it also gave the HU in the file next to it."""
    slices = []
    for number in range(5):
        dataset = pydicom.dcmread(JPEG_12)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.ImagePositionPatient = [0, 0, 10 * number]
        change(dataset)
        slices.append(dataset)
    return save(slices, folder)


def test_12_bit_jpeg_is_read_as_dcmtk_reads_it(tmp_path, capfd):
    expected = np.load(JPEG_12.with_suffix(".npy"))

    volume = _read(_of_jpeg12(tmp_path / "a"))

    for number in range(5):
        assert_array_equal(volume.array[:, :, number].T, expected)
    assert capfd.readouterr().err == ""


def test_12_bit_jpeg_of_signed_pixels_keeps_the_sign(tmp_path):
    def sign(dataset):
        dataset.PixelRepresentation = 1

    intercept = int(pydicom.dcmread(JPEG_12).RescaleIntercept)
    unsigned = np.load(JPEG_12.with_suffix(".npy")) - intercept

    volume = _read(_of_jpeg12(tmp_path / "a", sign))

    assert_array_equal(volume.array[:, :, 0].T, np.where(unsigned < 2048, unsigned, unsigned - 4096) + intercept)
    assert unsigned.max() >= 2048


def test_a_damaged_12_bit_jpeg_is_reported(tmp_path):
    def cut(dataset):
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame[:100]])

    with pytest.raises(ImageError, match="pixels of a slice cannot be decoded") as caught:
        _read(_of_jpeg12(tmp_path / "a", cut))
    assert "JPEG Extended" in str(caught.value)


def test_a_transfer_syntax_without_a_decoder_is_named_with_what_to_install(tmp_path):
    slices = ct_slices(thorax())
    for dataset in slices:
        dataset.PixelData = encapsulate([b"not decoded by anything"])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = MPEG2MPML

    with pytest.raises(ImageError, match="no decoder for the pixels' transfer syntax") as caught:
        _read(save(slices, tmp_path / "a"))

    assert "(1.2.840.10008.1.2.4.100)" in str(caught.value)
    assert "pip install python-gdcm" in str(caught.value)


def test_a_file_without_preamble_is_still_dicom(tmp_path):
    slices = ct_slices(thorax())
    for number, dataset in enumerate(slices):
        dataset.file_meta, dataset.preamble = FileMetaDataset(), None
        dataset.save_as(tmp_path / f"{number}", implicit_vr=True, little_endian=True)

    assert_array_equal(_read(tmp_path).array, thorax())


def test_everything_else_in_the_folder_is_left_out_with_its_reason(tmp_path):
    slices = ct_slices(thorax())
    scout = ct_slices(thorax((40, 36, 1)))[0]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.SeriesInstanceUID = slices[0].SeriesInstanceUID
    mip = ct_slices(thorax((40, 36, 1)))[0]
    mip.ImageType = ["DERIVED", "SECONDARY", "AXIAL", "MIP"]
    zeff = ct_slices(thorax((40, 36, 6)))
    for dataset in zeff:
        dataset.RescaleType = "Z_EFF"
    nowhere = ct_slices(thorax((40, 36, 1)))[0]
    del nowhere.ImagePositionPatient
    save(slices, tmp_path / "a" / "deep")
    save(slices[:2], tmp_path / "copy")
    save([scout, mip, nowhere, *zeff], tmp_path / "b")
    save(ct_slices(thorax((40, 36, 3))), tmp_path / "c")
    others = [
        other_object("1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN"),
        other_object("1.2.840.10008.5.1.4.1.1.481.2", "RTDOSE"),
        other_object("1.2.840.10008.5.1.4.1.1.88.67", "SR"),
        other_object("1.2.840.10008.5.1.4.1.1.4", "MR"),
        other_object("1.2.840.10008.5.1.4.1.1.128", "PT"),
        other_object("1.2.840.10008.5.1.4.1.1.7", "CT"),
    ]
    save(others, tmp_path / "d")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "cut.dcm").write_bytes((tmp_path / "b" / "IM0000").read_bytes()[:300])

    scan = find_series(tmp_path)

    assert [len(series.planes) for series in scan.series] == [9]
    assert scan.left_out == {
        "a copy of a slice already found": 2,
        "a scout (localizer)": 1,
        "a projection (MIP)": 1,
        "an image with no position in the patient": 1,
        "an image whose values are not HU": 6,
        "a slice of a series with fewer than 5 like it": 3,
        "RT Plan, no CT image": 1,
        "RT Dose, no CT image": 1,
        "X-Ray Radiation Dose SR, no CT image": 1,
        "MR Image, no CT image": 1,
        "Positron Emission Tomography Image, no CT image": 1,
        "Secondary Capture Image, no CT image": 1,
        "not DICOM": 1,
        "a damaged DICOM file": 1,
    }


def test_a_zip_is_read_in_place_and_so_are_zips_in_folders(tmp_path):
    folder = save(ct_slices(thorax()), tmp_path / "a")
    (tmp_path / "b").mkdir()
    with zipfile.ZipFile(tmp_path / "b" / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"study/{file.name}")

    assert_array_equal(_read(tmp_path / "b" / "scan.zip").array, thorax())
    assert_array_equal(_read(tmp_path / "b").array, thorax())
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["scan.zip"]


def test_a_damaged_zip_is_reported(tmp_path):
    (tmp_path / "scan.zip").write_bytes(b"PK\x03\x04 and then nothing")

    with pytest.raises(ImageError, match="a zip file is damaged"):
        find_series(tmp_path / "scan.zip")


def _dicomdir(folder, files):
    from pydicom.fileset import FileSet

    files_set = FileSet()
    for file in files:
        files_set.add(file)
    files_set.write(folder)
    files_set._stage["t"].cleanup()
    return folder / "DICOMDIR"


def test_a_dicomdir_names_the_files(tmp_path):
    folder = save(ct_slices(thorax()), tmp_path / "a")
    dicomdir = _dicomdir(tmp_path / "medium", list(folder.iterdir()))

    assert_array_equal(_read(dicomdir).array, thorax())
    assert_array_equal(_read(tmp_path / "medium").array, thorax())


def test_a_dicomdir_whose_files_are_gone_is_reported_with_the_count(tmp_path):
    folder = save(ct_slices(thorax()), tmp_path / "a")
    dicomdir = _dicomdir(tmp_path / "medium", list(folder.iterdir()))
    sorted(path for path in (tmp_path / "medium").rglob("*") if path.is_file() and path != dicomdir)[0].unlink()

    with pytest.raises(ImageError, match="lists files that are not there") as caught:
        find_series(dicomdir)

    assert caught.value.facts == {"listed": 9, "missing": 1}


def test_parts_of_a_series_that_lie_differently_are_scans_of_their_own(tmp_path):
    axial, other = ct_slices(thorax()), ct_slices(thorax((36, 40, 7)), oblique())
    for dataset in other:
        dataset.SeriesInstanceUID = axial[0].SeriesInstanceUID
    save([*axial, *other], tmp_path / "a")

    assert [len(series.planes) for series in find_series(tmp_path).series] == [9, 7]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "no DICOM file found"),
        (lambda folder: (folder / "a.txt").write_text("x"), "no DICOM file found"),
        (lambda folder: save(ct_slices(thorax((40, 36, 2))), folder), "no CT series found"),
    ],
)
def test_a_folder_without_ct_is_reported(tmp_path, prepare, message):
    prepare(tmp_path)

    with pytest.raises(ImageError, match=message):
        find_series(tmp_path)


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        find_series(tmp_path / "nowhere")


@pytest.mark.parametrize("cut", [1, 400])
def test_pixels_cut_short_are_reported_without_any_uid(tmp_path, cut):
    slices = ct_slices(thorax())
    slices[4].PixelData = slices[4].PixelData[:-cut] if cut % 2 == 0 else b"\0\0"

    with pytest.raises(ImageError, match="pixels of a slice cannot be decoded") as caught:
        _read(save(slices, tmp_path / "a"))

    assert "1.2.826" not in str(caught.value)
    assert "series 1 (9 slices of 40×36)" in str(caught.value)


def test_nothing_that_identifies_a_patient_is_shown(tmp_path):
    scan = find_series(save(ct_slices(thorax()), tmp_path / PATIENT))

    shown = f"{scan!r} {scan.series[0]!s} {scan.series[0].planes[0]!r} {scan.series[0].identity!r}"

    assert PATIENT not in shown
    assert "SECRET-ID" not in shown
    assert scan.series[0].identity.series_uid not in shown
    assert scan.series[0].facts == {
        "kernel": "B30f",
        "manufacturer": "Maker",
        "slice_thickness_mm": 2.5,
        "body_part": "CHEST",
    }


def test_source_datasets_come_in_the_order_of_the_slices_and_without_pixels(tmp_path):
    (series,) = find_series(save(ct_slices(thorax()), tmp_path / "a")).series

    sources = read_source_datasets(series)

    assert [dataset.InstanceNumber for dataset in sources] == list(range(500, 491, -1))
    assert all("PixelData" not in dataset for dataset in sources)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
def test_an_enhanced_multi_frame_ct_is_a_series_of_its_frames(tmp_path, syntax):
    whole = enhanced_ct(thorax(), oblique())
    if syntax:
        whole.compress(syntax, generate_instance_uid=False)

    volume = _read(save([whole], tmp_path / "a"))

    assert_array_equal(volume.array, thorax())
    assert_allclose(flip_ras_lps(volume.grid.affine), oblique(), atol=1e-5)


def test_two_series_are_distinguished_by_uid_not_by_folder(tmp_path):
    first, second = ct_slices(thorax()), ct_slices(thorax(seed=9))
    for dataset in second:
        dataset.StudyInstanceUID = first[0].StudyInstanceUID
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    save(first, tmp_path, names=[f"b{k}" for k in range(9)])
    save(second, tmp_path, names=[f"a{k}" for k in range(9)])

    scan = find_series(tmp_path)

    assert_array_equal(read_series(scan.series[0]).array, thorax(seed=9))
    assert_array_equal(read_series(scan.series[1]).array, thorax())
