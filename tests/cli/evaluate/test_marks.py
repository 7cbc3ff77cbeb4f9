import csv
import gzip
import json
import shutil

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from tests.evaluation.marks.test_reading import HEADER, write_luna16

RATES = ["0.125", "0.25", "0.5", "1", "2", "4", "8"]


def evaluate(folder, marks, kind, annotations):
    flags = ["--marks", marks, "--reference", kind, "--annotations", annotations, "--output", folder / "out"]
    code = main(["evaluate", *map(str, flags)])
    file = folder / "out" / "summary.json"
    return code, json.loads(file.read_text()) if file.is_file() else {}


def rows(file):
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_marks_give_summary_tables_and_report(tmp_path, capsys):
    """Two nodules in two scans: found at 0.9 after one false mark at 0.95, and missed; 0.5 false marks a scan."""
    write_luna16(tmp_path, nodules="a,0,0,0,6\nb,0,0,0,6\n", excluded="b,50,0,0,-1\n")
    marks = tmp_path / "detector.csv"
    marks.write_text(HEADER + "a,0,0,1,0.9\na,80,0,0,0.95\na,0,1,0,0.1\nb,54,0,0,0.99\n")
    code, summary = evaluate(tmp_path, marks, "luna16", tmp_path)
    assert code == 0
    assert [summary["lesions"][name] for name in ("tp", "fp", "fn", "ignored", "double")] == [1, 1, 1, 1, 1]
    expected = [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert summary["detection"]["centre"]["sensitivity_at_fp_per_scan"] == dict(zip(RATES, expected, strict=True))
    assert summary["cpm"] == pytest.approx(2.5 / 7)
    assert [row["fp"] for row in rows(tmp_path / "out" / "cases.csv")] == ["1", "0"]
    assert [row["probability"] for row in rows(tmp_path / "out" / "lesions.csv")] == ["0.9", ""]
    assert [row["threshold"] for row in rows(tmp_path / "out" / "froc.csv")] == ["0.95", "0.9"]
    (sized,) = rows(tmp_path / "out" / "froc_by_diameter.csv")
    assert [sized[name] for name in ("rule", "diameter", "lesions")] == ["centre", "6-8 mm", "2"]
    assert [sized[f"sensitivity_at_{rate}"] for rate in RATES] == [str(value) for value in expected]
    assert len(rows(tmp_path / "out" / "froc_bootstrap.csv")) == 10_000
    assert "FROC" in (tmp_path / "out" / "report.html").read_text()
    reported = capsys.readouterr().out
    assert "detector on luna16: 4 marks in 2 scans" in reported
    assert "1 found, 1 missed; marks: 1 false, 1 on excluded findings, 1 more on nodules" in reported


def test_marks_in_unknown_scans_are_named_the_rest_counts_and_the_exit_code_is_2(tmp_path, capsys):
    write_luna16(tmp_path)
    marks = tmp_path / "detector.csv"
    marks.write_text(HEADER + "a,1,2,3,0.9\nz,1,2,3,0.9\n")
    code, summary = evaluate(tmp_path, marks, "luna16", tmp_path)
    assert (code, summary["cpm"], summary["cases_without_marks"]) == (2, 1.0, 1)
    reported = capsys.readouterr()
    assert "marks are in scans that the reference does not know" in reported.err
    assert "scans without a mark: 1; their nodules count as missed" in reported.out


def test_a_bad_table_leaves_nothing_behind(tmp_path, capsys):
    write_luna16(tmp_path)
    marks = tmp_path / "detector.csv"
    marks.write_text(HEADER + "a,1,2,3,nan\n")
    assert evaluate(tmp_path, marks, "luna16", tmp_path) == (2, {})
    assert "line 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_marks_are_compared_with_the_masks_and_spheres_of_a_data_set(tmp_path):
    """A mask with a 4×4×4 block, one with a sphere that the manifest knows, and a case without a mask."""
    grid = Grid((24, 20, 12), np.diag([1.0, 1.0, 2.0, 1.0]))
    mask = np.zeros(grid.shape, dtype=np.uint8)
    mask[4:8, 5:9, 2:6] = 1
    write_volume(tmp_path / "mask.nii.gz", mask, grid)
    spheres = {"sphere": True, "spheres": [{"centre_mm": [3.0, 0.0, 0.0], "diameter_mm": 4.0}]}
    cases = [
        {"id": "block", "patient": "p", "image": "x.nii.gz", "mask": "mask.nii.gz"},
        {"id": "ball", "patient": "q", "image": "x.nii.gz", "mask": "unread.nii.gz", "extra": spheres},
        {"id": "unknown", "patient": "q", "image": "x.nii.gz"},
    ]
    head = {"format": "segpipe-manifest-1", "name": "ours", "source": "nifti", "labels": {"1": "nodule"}}
    (tmp_path / "manifest.json").write_text(json.dumps({**head, "cases": cases}))
    marks = tmp_path / "findings.csv"
    columns = "scan,mean_probability,centre_x_mm,centre_y_mm,centre_z_mm\n"
    marks.write_text(columns + "block,0.9,5.5,6.5,7.5\nball,0.8,0.9,0,0\nball,0.7,2,0,0\n")
    code, summary = evaluate(tmp_path, marks, "dataset", tmp_path)
    assert code == 0
    assert (summary["data"], summary["cases"], summary["patients"]) == ("ours", 2, 2)
    assert [summary["lesions"][name] for name in ("tp", "fp", "fn")] == [2, 1, 0]
    # corner voxels are √(9 + 9 + 36) mm apart, and the mean edge is 4/3 mm
    assert float(rows(tmp_path / "out" / "lesions.csv")[0]["diameter_mm"]) == pytest.approx(54**0.5 + 4 / 3)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--marks", "m.csv"], "--marks needs --reference, --annotations"),
        (["--marks", "m.csv", "--reference", "luna16"], "--marks needs --annotations"),
        (
            ["--marks", "m.csv", "--reference", "luna16", "--annotations", ".", "--table", "t", "--split", "all"],
            "found  --table, --split",
        ),
        (["--marks", "m.csv", "--model", "m", "--data", "d"], "give either --predictions and --references"),
        (["--marks", "m.csv", "--reference", "luna17", "--annotations", "."], "known  luna16, dataset"),
        (["--predictions", "p", "--references", "r", "--annotations", "."], "flags that --predictions does not take"),
    ],
)
def test_wrong_flags_of_marks(flags, message, capsys):
    assert main(["evaluate", "--output", "o", *flags]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.realdata
def test_luna16_gives_the_figures_of_the_official_script(realdata, tmp_path):
    """A real submission; the official bootstrap draws other random numbers at each run, so it agrees to its error."""
    folder = realdata / "luna16_tables"
    if not folder.is_dir():
        pytest.skip("the tables of LUNA16 are not here")
    with gzip.open(folder / "submission_seriesuid.csv.gz") as packed, (tmp_path / "submission.csv").open("wb") as file:
        shutil.copyfileobj(packed, file)
    code, summary = evaluate(tmp_path, tmp_path / "submission.csv", "luna16", folder)
    assert code == 0
    lesions = summary["lesions"]
    counted = [lesions[name] for name in ("tp", "fp", "fn", "ignored", "double")]
    assert counted == [1136, 46078, 50, 5308, 186]
    assert lesions["recall"] == pytest.approx(0.957841484, abs=1e-9)
    assert (summary["marks"], summary["marks_per_scan"]) == (52708, pytest.approx(59.355855856))
    assert summary["cpm"] == pytest.approx(0.84197, abs=1e-5)
    official = [0.6922, 0.7690, 0.8238, 0.8651, 0.8929, 0.9174, 0.9334]
    froc = summary["detection"]["centre"]["sensitivity_at_fp_per_scan"]
    assert list(froc.values()) == pytest.approx(official, abs=1e-4)
    sizes = summary["detection"]["centre"]["by_diameter"].values()
    assert [size["lesions"] for size in sizes] == [502, 276, 281, 127]
    found = np.array([list(size["sensitivity_at_fp_per_scan"].values()) for size in sizes])
    assert np.average(found, axis=0, weights=[502, 276, 281, 127]) == pytest.approx(list(froc.values()), abs=1e-12)
    ours = np.array([[float(row[name]) for name in row if name != "rule"] for row in rows(tmp_path / "out/froc.csv")])
    theirs = np.loadtxt(folder / "expected" / "froc_dpn_uid.txt", delimiter=",")[1:]  # (0, 0) is implied
    at = np.searchsorted(-ours[:, 0], -theirs[:, 2])
    assert ours[at, 1:] == pytest.approx(theirs[:, :2], abs=1e-8)
    band = np.loadtxt(folder / "expected" / "froc_dpn_uid_bootstrapping.csv", delimiter=",", skiprows=1)
    resampled = np.loadtxt(tmp_path / "out" / "froc_bootstrap.csv", delimiter=",", skiprows=1)
    assert resampled[:, 0] == pytest.approx(band[:, 0], abs=1e-8)
    assert resampled[:, 1] == pytest.approx(band[:, 1], abs=2e-3)
    assert resampled[:, 2:] == pytest.approx(band[:, 2:], abs=6e-3)
