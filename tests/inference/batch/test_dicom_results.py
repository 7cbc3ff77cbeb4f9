"""Results in DICOM are read back with libraries that did not write them."""

import json

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from segpipe.__main__ import main
from tests.samples.synthetic_dicom import ct_slices, save


@pytest.fixture
def series(tmp_path):
    """A dark block with bright noise in it, as DICOM files."""
    hu = np.random.default_rng(0).normal(-850, 30, (40, 36, 24)).astype(np.int16)
    hu[10:18, 12:20, 8:14] = 100
    slices = ct_slices(hu)
    save(slices, tmp_path / "series")
    return tmp_path / "series", str(slices[0].SeriesInstanceUID)


@pytest.mark.slow
def test_all_formats_at_once(untrained_model, series, tmp_path):
    folder, series_uid = series
    words = "predict --threshold 0.5 --min-volume 20 --output-format nifti csv json html dicom-seg dicom-sr rtstruct"
    words += " dicom-labelmap dicom-mask"
    given = ["--model", str(untrained_model), "--input", str(folder), "--output", str(tmp_path / "out")]
    assert main([*words.split(), *given]) == 0
    names = {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}
    assert {"series.nii.gz", "series.json", "series.html", "findings.csv", "series.sr.dcm"} <= names
    report = pydicom.dcmread(tmp_path / "out" / "series.sr.dcm")
    assert report.Modality == "SR"
    assert series_uid in str(report)
    segmentation = pydicom.dcmread(tmp_path / "out" / "series.seg.dcm")
    structures = pydicom.dcmread(tmp_path / "out" / "series.rtstruct.dcm")
    assert len(segmentation.SegmentSequence) == len(structures.StructureSetROISequence)
    _check_readers_agree(tmp_path / "out")
    content = json.loads((tmp_path / "out" / "series.json").read_text())
    assert len(content["findings"]) == len(segmentation.SegmentSequence)
    for finding in content["findings"]:
        assert finding["slice_number"] == 500 - finding["slice_index"]  # the Instance Numbers of the series


def _check_readers_agree(folder):
    """Binary SEG and label map by highdicom, the mask by ITK, all against the NIfTI mask by nibabel: one place each."""
    nifti = nibabel.load(folder / "series.nii.gz")
    wanted = np.sort(apply(nifti.affine, np.argwhere(np.asarray(nifti.dataobj))) * (-1, -1, 1), axis=0)
    for name in ("seg", "labelmap"):
        volume = highdicom.seg.segread(folder / f"series.{name}.dcm").get_volume(combine_segments=True)
        np.testing.assert_allclose(np.sort(apply(volume.affine, np.argwhere(volume.array)), axis=0), wanted, atol=0.1)
    image = SimpleITK.ReadImage(folder / "series.mask.dcm")
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    voxels = np.argwhere(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0))
    assert image.GetSize() == nifti.shape
    np.testing.assert_allclose(np.sort(apply(affine, voxels), axis=0), wanted, atol=0.1)
    uids = {str(pydicom.dcmread(folder / f"series.{name}.dcm").SOPInstanceUID) for name in ("seg", "labelmap", "mask")}
    assert len(uids) == 3


def apply(affine, indices):
    return indices @ affine[:3, :3].T + affine[:3, 3]


def test_dicom_results_need_a_dicom_series(untrained_model, tiny_dataset, tmp_path, capsys):
    given = ["--model", str(untrained_model), "--input", str(tiny_dataset / "images" / "case_0.nii.gz")]
    assert main(["predict", *given, "--output", str(tmp_path), "--output-format", "nifti", "dicom-seg"]) == 2
    reported = capsys.readouterr().err
    assert "DICOM results need a DICOM series" in reported
    assert "dicom-seg" in reported
    assert list(tmp_path.iterdir()) == []
