"""What a hospital may hand over by mistake: each time one clear message, exit code 2 and nothing half-written."""

import json
import resource
import shutil
import signal

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.export.writing import checksum
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from tests.samples.synthetic_chest import chest, chest_series
from tests.samples.synthetic_dicom import save
from tests.support.processes import segpipe

pytestmark = pytest.mark.slow  # a model folder is exported to ONNX once
FORMATS = ["nifti", "csv", "json", "html", "dicom-seg", "dicom-sr", "rtstruct"]


@pytest.fixture
def model(chest_model):
    return chest_model


def words(model, series, output):
    return ["predict", "--model", str(model), "--input", str(series), "--output", str(output), "--output-format"]


def refuse(model, series, output, capsys):
    """What is reported when a scan is refused; the output folder must hold no result."""
    assert main([*words(model, series, output), *FORMATS]) == 2
    reported = capsys.readouterr().err
    assert "Traceback" not in reported
    assert reported.count("Error: ") == 1
    assert "Secret" not in reported
    assert "SECRET" not in reported
    left = [file for file in output.rglob("*") if file.is_file()] if output.exists() else []
    assert [file.name for file in left if file.name != "findings.csv"] == []
    return reported


def test_the_same_series_as_it_should_be_is_predicted(model, tmp_path):
    series = save(chest_series(), tmp_path / "series")
    assert main([*words(model, series, tmp_path / "out"), *FORMATS]) == 0
    assert {file.suffix for file in (tmp_path / "out").iterdir()} >= {".gz", ".csv", ".json", ".html", ".dcm"}


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "MR Image, no CT image"),
        (
            {"Modality": "PT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"},
            "Positron Emission Tomography Image, no CT image",
        ),
        ({"Modality": "MR"}, "modality MR, not CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a scout (localizer)"),
    ],
    ids=["MR", "PET", "MR in a CT object", "localizer"],
)
def test_what_is_no_ct_scan_is_refused(model, tmp_path, capsys, attributes, reason):
    series = save(chest_series(**attributes), tmp_path / "series")
    reported = refuse(model, series, tmp_path / "out", capsys)
    assert "ImageError: no CT series found" in reported
    assert reason in reported
    assert not (tmp_path / "out").exists()


def test_missing_slices_are_refused_with_their_place(model, tmp_path, capsys):
    slices = chest_series()
    del slices[7:9]
    reported = refuse(model, save(slices, tmp_path / "series"), tmp_path / "out", capsys)
    assert "GeometryError: " in reported
    assert "2 after slice 7" in reported


def test_an_abdomen_is_refused(model, tmp_path, capsys):
    reported = refuse(model, save(chest_series(lungs=False), tmp_path / "series"), tmp_path / "out", capsys)
    assert "ImageError: no lungs are found in the scan" in reported


def test_a_model_folder_of_another_recipe_digest_is_refused(model, tmp_path, capsys):
    copy = shutil.copytree(model, tmp_path / "model")
    index = json.loads((copy / "segpipe.json").read_text())
    index["recipe"]["spacing_mm"] = [1.0, 1.0, 1.0]
    index["checksum"] = checksum(index)
    (copy / "segpipe.json").write_text(json.dumps(index))
    series = save(chest_series(), tmp_path / "series")
    reported = refuse(copy, series, tmp_path / "out", capsys)
    assert "ModelError: the recipe does not have the digest it was written with" in reported
    assert index["recipe_digest"] in reported
    assert not (tmp_path / "out").exists()


def test_a_full_disk_stops_the_call_and_leaves_nothing_half_written(model, tmp_path):
    """Files of more than 2 kB cannot be written, as on a full disk."""
    series, output = save(chest_series(), tmp_path / "series"), tmp_path / "out"
    reported = segpipe(*words(model, series, output), *FORMATS, cwd=tmp_path, code=2, before=_fill_disk)
    assert "Traceback" not in reported
    assert reported.count("Error: ") == 1
    assert "OutputError: " in reported
    assert "File too large" in reported
    assert [file for file in output.rglob("*") if file.is_file()] == []


def _fill_disk():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def test_of_several_scans_the_good_ones_are_done(model, tmp_path, capsys):
    grid = Grid((64, 48, 20), np.diag([-5.0, -5.0, 10.0, 1.0]))

    write_volume(tmp_path / "scans" / "chest.nii.gz", chest(), grid)
    write_volume(tmp_path / "scans" / "abdomen.nii.gz", chest(lungs=False), grid)
    (tmp_path / "scans" / "cut.nii.gz").write_bytes((tmp_path / "scans" / "chest.nii.gz").read_bytes()[:2000])
    assert main([*words(model, tmp_path / "scans", tmp_path / "out"), "nifti", "csv", "json"]) == 2
    reported = capsys.readouterr()
    assert "left out: abdomen, cut" in reported.out
    assert reported.err.count("Error: ") == 2
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == [".segpipe", "chest.json", "chest.nii.gz", "findings.csv"]
