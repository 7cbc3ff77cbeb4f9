"""`ingest` from the command line: data sets that read back, bad cases named, mistakes without a traceback."""

import csv
import json
import stat

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import read_manifest
from segpipe.geometry import Grid
from segpipe.io.images.volumes import read_volume, write_volume
from tests.samples.hospital_folders import all_text

SHAPE = (6, 7, 8)
GRID = Grid(SHAPE, np.diag([-0.8, -0.8, 2.0, 1.0]))


def _write(root, case, *, image=None, mask=None):
    values = np.random.default_rng(0).integers(-1000, 400, SHAPE).astype(np.int16) if image is None else image
    lesion = np.zeros(SHAPE, np.uint8)
    lesion[2:4, 2:4, 2:4] = lesion[5, 6, 7] = 1
    write_volume(root / "images" / f"{case}.nii.gz", values, GRID)
    write_volume(root / "masks" / f"{case}.nii.gz", lesion if mask is None else mask, GRID)


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "mine"
    _write(root, "a")
    _write(root, "b")
    return root


def _ingest(*words):
    return main(["ingest", "--workers", "0", *map(str, words)])


def test_folders_are_referred_to_in_place(tmp_path, folder, capsys):
    assert _ingest("--source", "nifti", "--input", folder, "--output", tmp_path / "set") == 0
    manifest = read_manifest(tmp_path / "set")
    assert [entry.id for entry in manifest.entries] == ["a", "b"]
    assert manifest.entries[0].image.resolve() == (folder / "images" / "a.nii.gz").resolve()
    assert manifest.entries[0].extra == {"spacing_mm": [0.8, 0.8, 2.0], "shape": [6, 7, 8], "lesions": 2}
    assert "2 cases (2 new, 0 left out)" in capsys.readouterr().out
    assert _ingest("--source", "nifti", "--input", folder, "--output", tmp_path / "set") == 0
    assert "2 cases (0 new, 0 left out)" in capsys.readouterr().out


def test_copies_are_whole_hu_on_the_same_grid(tmp_path, folder):
    image = np.random.default_rng(0).uniform(-1000, 400, SHAPE).astype(np.float32)
    _write(folder, "a", image=image)
    assert _ingest("--source", "nifti", "--input", folder, "--output", tmp_path / "set", "--copy") == 0
    content = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert [(row["image"], row["mask"]) for row in content["cases"]] == [
        ("images/a.nii.gz", "masks/a.nii.gz"),
        ("images/b.nii.gz", "masks/b.nii.gz"),
    ]
    copy = read_volume(tmp_path / "set" / "images" / "a.nii.gz")
    assert copy.array.dtype == np.int16
    assert np.abs(copy.array - image).max() <= 0.5
    assert copy.grid.matches(GRID)
    assert int(load_case(read_manifest(tmp_path / "set").entries[0], {1: "nodule"}).mask.sum()) == 9


def test_a_table_of_paths_is_read(tmp_path, folder):
    (tmp_path / "list.csv").write_text(
        "image,mask,case,patient,diameter_mm,birth_date\n"
        "mine/images/a.nii.gz,mine/masks/a.nii.gz,first,Doe,7.5,19700101\n"
        "mine/images/b.nii.gz,mine/masks/b.nii.gz,second,Doe,9,19700101\n"
    )
    assert _ingest("--source", "nifti", "--input", tmp_path / "list.csv", "--output", tmp_path / "set") == 0
    first, second = read_manifest(tmp_path / "set").entries
    assert (first.id, second.id) == ("first", "second")
    assert first.patient == second.patient == "patient_0001"
    assert first.extra["diameter_mm"] == 7.5
    assert "1970" not in (tmp_path / "set" / "manifest.json").read_text()
    assert "Doe" not in (tmp_path / "set" / "manifest.json").read_text()


def test_a_scan_of_a_table_may_have_no_mask(tmp_path, folder):
    (tmp_path / "list.csv").write_text("image,mask\nmine/images/a.nii.gz,mine/masks/a.nii.gz\nmine/images/b.nii.gz,\n")
    assert _ingest("--source", "nifti", "--input", tmp_path / "list.csv", "--output", tmp_path / "set") == 0
    assert [entry.mask is None for entry in read_manifest(tmp_path / "set").entries] == [False, True]


@pytest.mark.parametrize("name", ["1.2.840.113619.2.55.3", "DOE^JANE", "scan_1950-01-01"])
def test_names_that_identify_a_person_do_not_enter_a_copied_data_set(tmp_path, capsys, name):
    _write(tmp_path / name, name)
    _write(tmp_path / name, "b")
    words = ["--source", "nifti", "--input", tmp_path / name, "--output", tmp_path / "set", "--copy", "--keep-ids"]

    assert _ingest(*words) == 0

    reported = capsys.readouterr()
    assert "1 of 2 names hold a UID, a date or a person's name, so cases are called case_0001 …" in reported.out
    assert name.encode() not in all_text(tmp_path / "set") + reported.out.encode() + reported.err.encode()
    assert [(entry.id, entry.image.name) for entry in read_manifest(tmp_path / "set").entries] == [
        ("case_0001", "case_0001.nii.gz"),
        ("case_0002", "case_0002.nii.gz"),
    ]
    who = tmp_path / "set.ids.csv"
    assert stat.S_IMODE(who.stat().st_mode) == 0o600
    assert {row["name"] for row in csv.DictReader(who.read_text().splitlines())} == {name, "b"}
    assert _ingest(*words) == 0
    assert "2 cases (0 new, 0 left out)" in capsys.readouterr().out


def test_who_is_who_needs_other_names(tmp_path, folder, capsys):
    assert _ingest("--source", "nifti", "--input", folder, "--output", tmp_path / "set", "--keep-ids") == 0
    assert "--keep-ids has nothing to write; --rename" in capsys.readouterr().out


def test_cases_are_renamed_when_asked_and_files_in_place_are_still_named(tmp_path, folder, capsys):
    assert _ingest("--source", "nifti", "--input", folder, "--output", tmp_path / "set", "--rename") == 0
    assert "manifest.json still says where the files are; --copy leaves that out" in capsys.readouterr().out
    assert [entry.id for entry in read_manifest(tmp_path / "set").entries] == ["case_0001", "case_0002"]
    assert not (tmp_path / "set.ids.csv").exists()


def test_bad_cases_are_named_and_left_out(tmp_path, folder, capsys):
    _write(folder, "c", image=np.full(SHAPE, np.nan, np.float32))
    _write(folder, "d", mask=np.full(SHAPE, 3, np.uint8))
    (folder / "images" / "e.nii.gz").write_bytes(b"damaged")
    (folder / "masks" / "e.nii.gz").write_bytes(b"damaged")
    assert _ingest("--source", "nifti", "--input", folder, "--output", tmp_path / "set") == 2
    assert [entry.id for entry in read_manifest(tmp_path / "set").entries] == ["a", "b"]
    reported = capsys.readouterr()
    assert "2 cases (2 new, 3 left out)" in reported.out
    for text in ("case   c", "336 NaN", "outside the label map", "cannot be read"):
        assert text in reported.err
    assert "Traceback" not in reported.err


def test_nothing_good_is_an_error_and_leaves_no_manifest(tmp_path, capsys):
    _write(tmp_path / "mine", "a", mask=np.full(SHAPE, 3, np.uint8))
    assert _ingest("--source", "nifti", "--input", tmp_path / "mine", "--output", tmp_path / "set") == 2
    assert "no case could be used" in capsys.readouterr().err
    assert not (tmp_path / "set" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        (["--source", "nifty", "--output", "x"], ["unknown source", "--source nifti"]),
        (["--source", "nifti", "--output", "x"], ["--input must be given"]),
        (["--source", "nifti", "--output", "x", "--input", "nowhere"], ["the input must exist", "nowhere"]),
        (["--source", "nifti", "--output", "x", "--input", ".", "--cases", "3"], ["does not have", "--cases"]),
        (["--source", "phantom", "--output", "x", "--cases", "three"], ["--cases", "three"]),
        (["--source", "phantom", "--output", "x", "--cases", "0"], ["at least one case"]),
        (["--source", "phantom"], ["--output"]),
    ],
)
def test_mistakes_on_the_command_line_are_reported(capsys, words, reported):
    assert main(["ingest", *words]) == 2
    message = capsys.readouterr().err
    for text in reported:
        assert text in message


def test_help_lists_the_sources(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["ingest", "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "phantom" in shown
    assert "--case-column" in shown


@pytest.mark.slow
def test_the_phantom_is_written_out_in_parallel(tmp_path):
    words = ["ingest", "--source", "phantom", "--cases", "2", "--workers", "2", "--output", str(tmp_path)]
    assert main(words) == 0
    manifest = read_manifest(tmp_path)
    assert [entry.id for entry in manifest.entries] == ["phantom_0001", "phantom_0002"]
    assert load_case(manifest.entries[0], manifest.labels).mask.any()


def test_check_reports_and_pictures_what_is_wrong(tmp_path, folder, capsys):
    output = tmp_path / "set"
    assert _ingest("--source", "nifti", "--input", folder, "--output", output) == 0
    write_volume(folder / "masks" / "b.nii.gz", np.full(SHAPE, 3, np.uint8), GRID)
    capsys.readouterr()
    assert _ingest("--check", output) == 2
    shown = capsys.readouterr().out
    assert "error    b  the mask holds values outside the label map" in shown
    assert "2 cases" in shown
    assert json.loads((output / "quality.json").read_text())["errors"] >= 1
    assert "case-b" in (output / "quality.html").read_text()


def test_check_of_something_else_is_reported(tmp_path, capsys):
    assert _ingest("--check", tmp_path) == 2
    assert "must hold manifest.json" in capsys.readouterr().err
