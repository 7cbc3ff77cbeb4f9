"""Files, tables and records of predictions."""

import csv
import json
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from segpipe.case import Case
from segpipe.errors import ConfigError, OutputError
from segpipe.geometry import Grid
from segpipe.inference.batch.records import Records
from segpipe.inference.batch.results import (
    WRITERS,
    Result,
    choose_writers,
    finding_row,
    write_files,
    write_table,
    write_text,
)
from segpipe.inference.batch.scans import Scan
from segpipe.inference.predictor import Prediction
from tests.inference.test_findings import SHAPE, found, thorax

SETTINGS = {"model": "abc", "options": {"flips": (0, 1)}}


def scan(name="a", stamp="1"):
    return Scan(name, lambda: None, lambda: 0, stamp)


@pytest.fixture
def result():
    case = thorax()
    mask = np.zeros(SHAPE, np.uint8)
    mask[15:19, 20:23, 5:7] = 1
    return Result(scan(), case, Prediction(mask, found(case, mask)), SimpleNamespace(), SETTINGS)


def test_the_mask_is_on_the_scans_own_grid(result, tmp_path):
    (file,) = WRITERS["nifti"](result, tmp_path)
    image = nibabel.load(file)
    assert file.name == "a.nii.gz"
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, result.case.grid.affine)
    np.testing.assert_array_equal(image.get_fdata(), result.prediction.mask)


def test_the_findings_report_with_what_they_were_made(result, tmp_path):
    (file,) = WRITERS["json"](result, tmp_path)
    content = json.loads(file.read_text())
    assert content["scan"] == "a"
    assert content["model"] == "abc"
    assert content["grid"]["shape"] == list(SHAPE)
    assert content["findings"][0]["volume_mm3"] == pytest.approx(2400)
    assert "RAS+" in content["frames"]


def test_the_table_has_a_row_per_finding(result, tmp_path):
    rows = [finding.to_dict() for finding in result.prediction.findings]
    file = write_table(tmp_path, {"a": rows, "empty": [], "b": rows})
    with file.open() as stream:
        table = list(csv.DictReader(stream))
    assert [(row["scan"], row["lesion"]) for row in table] == [("a", "1"), ("b", "1")]
    assert table[0]["volume_mm3"] == "2400"
    assert (table[0]["centre_x_mm"], table[0]["lps_x_mm"]) == ("67.500", "-67.500")
    assert table[0]["mean_probability"] == "0.75"
    assert table[0]["side"] == "right"


def test_a_table_without_findings_still_has_its_columns(tmp_path):
    header = write_table(tmp_path, {}).read_text()
    assert header.startswith("scan,lesion,volume_mm3,longest_diameter_mm,mean_probability,")
    assert header.rstrip().endswith(
        ",class,mean_diameter_mm,nodule_type,solid_axial_diameter_mm,solid_perpendicular_diameter_mm,"
        "solid_mean_diameter_mm,p5_hu,median_hu,p95_hu,zone,slice_count,slice_spacing_mm,slice_note,cut_by"
    )
    assert header.count("\n") == 1


def test_an_unknown_side_is_an_empty_cell(result):
    row = finding_row("a", {**result.prediction.findings[0].to_dict(), "side": None})
    assert row["side"] is None


def test_formats_are_chosen_by_name_and_csv_needs_no_writer():
    assert list(choose_writers(["csv", "nifti", "nifti"], WRITERS)) == ["nifti"]
    with pytest.raises(ConfigError, match="unknown output format") as caught:
        choose_writers(["nifti", "png"], WRITERS)
    assert caught.value.facts == {"found": "png", "known": "nifti, json, csv"}


def test_a_format_that_cannot_be_made_costs_that_format_alone(result, tmp_path):
    def fail(result, folder):
        raise ValueError("no such code")

    files, errors = write_files(result, {"broken": fail, "nifti": WRITERS["nifti"]}, tmp_path)

    assert [file.name for file in files] == ["a.nii.gz"]
    assert [str(error) for error in errors] == ["ValueError: no such code\n  format  broken"]


def test_a_scan_that_lacks_a_format_is_done_again_and_keeps_its_findings_for_the_table(result, tmp_path):
    records = Records(tmp_path, SETTINGS)
    files, _ = write_files(result, WRITERS, tmp_path)
    records.keep(scan(), files, result.prediction.findings, whole=False)
    assert records.find(scan()) is None
    assert records.find(scan(), whole=False)["findings"][0]["number"] == 1


def test_when_the_disk_is_full_no_format_is_left(result, tmp_path):
    def fail(result, folder):
        raise OutputError("no space left")

    with pytest.raises(OutputError):
        write_files(result, {"nifti": WRITERS["nifti"], "broken": fail}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_text_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(tmp_path / "folder", "x")
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_a_record_is_found_again(result, tmp_path):
    records = Records(tmp_path, SETTINGS)
    assert records.find(scan()) is None
    records.keep(scan(), write_files(result, WRITERS, tmp_path)[0], result.prediction.findings)
    record = Records(tmp_path, SETTINGS).find(scan())
    assert record["files"] == ["a.nii.gz", "a.json"]
    assert record["findings"][0]["number"] == 1


def test_other_settings_other_files_or_a_missing_file_are_not_done(result, tmp_path):
    records = Records(tmp_path, SETTINGS)
    files, _ = write_files(result, WRITERS, tmp_path)
    records.keep(scan(), files, result.prediction.findings)
    assert Records(tmp_path, {**SETTINGS, "model": "new"}).find(scan()) is None
    assert records.find(scan(stamp="2")) is None
    assert records.find(scan("b")) is None
    files[0].unlink()
    assert records.find(scan()) is None


def test_a_damaged_record_is_not_done(tmp_path):
    records = Records(tmp_path, SETTINGS)
    (tmp_path / ".segpipe").mkdir()
    for text in ("{", "[]", "{}", '{"settings": 1}'):
        (tmp_path / ".segpipe" / "a.json").write_text(text)
        assert records.find(scan()) is None
        records.forget(scan())


def test_stale_results_are_removed_and_nothing_outside_the_folder_is(result, tmp_path):
    output = tmp_path / "out"
    precious = tmp_path / "precious.txt"
    precious.write_text("x")
    records = Records(output, SETTINGS)
    records.keep(scan(), write_files(result, WRITERS, output)[0], result.prediction.findings)
    record = json.loads((output / ".segpipe" / "a.json").read_text())
    record["files"].append("../precious.txt")
    (output / ".segpipe" / "a.json").write_text(json.dumps(record))
    records.forget(scan())
    assert precious.exists()
    assert [file.name for file in output.iterdir()] == [".segpipe"]
    assert list((output / ".segpipe").iterdir()) == []


def test_a_mask_on_an_oblique_grid_keeps_it(tmp_path):
    affine = np.array([[-0.68, 0.1, 0.02, 5], [0.1, 0.68, 0.1, 6], [0.01, -0.1, 2.4, 7], [0, 0, 0, 1]])
    image = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    case = Case("a", image, Grid(image.shape, affine))
    mask = (image > 20).astype(np.uint8)
    (file,) = WRITERS["nifti"](Result(scan(), case, Prediction(mask, []), SimpleNamespace(), {}), tmp_path)
    np.testing.assert_allclose(nibabel.load(file).affine, affine, atol=1e-6)
