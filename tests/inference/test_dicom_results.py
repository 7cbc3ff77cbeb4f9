"""Results in DICOM are read back with libraries that did not write them."""

import numpy as np
import pydicom
import pytest

from segpipe.__main__ import main
from tests.synthetic_dicom import ct_slices, save


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
    given = ["--model", str(untrained_model), "--input", str(folder), "--output", str(tmp_path / "out")]
    assert main([*words.split(), *given]) == 0
    names = {file.name for file in (tmp_path / "out").iterdir() if not file.name.startswith(".")}
    assert {"series.nii.gz", "series.json", "series.html", "findings.csv", "series.sr.dcm"} <= names
    report = pydicom.dcmread(tmp_path / "out" / "series.sr.dcm")
    assert report.Modality == "SR"
    assert series_uid in str(report)
    if "series.seg.dcm" in names:
        segmentation = pydicom.dcmread(tmp_path / "out" / "series.seg.dcm")
        structures = pydicom.dcmread(tmp_path / "out" / "series.rtstruct.dcm")
        assert len(segmentation.SegmentSequence) == len(structures.StructureSetROISequence)


def test_dicom_results_need_a_dicom_series(untrained_model, tiny_dataset, tmp_path, capsys):
    given = ["--model", str(untrained_model), "--input", str(tiny_dataset / "images" / "case_0.nii.gz")]
    assert main(["predict", *given, "--output", str(tmp_path), "--output-format", "nifti", "dicom-seg"]) == 2
    told = capsys.readouterr().err
    assert "DICOM results need a DICOM series" in told
    assert "dicom-seg" in told
    assert list(tmp_path.iterdir()) == []
