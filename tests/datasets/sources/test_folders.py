"""Folders and tables become a manifest without anybody's identity, or one message says what does not fit."""

import os
from pathlib import Path

import pytest

from segpipe.datasets.sources.folders import find_cases, find_scans
from segpipe.datasets.splits import assign_roles
from segpipe.errors import DatasetError


def _make(root, images, masks, layout=("images", "masks")):
    for folder, names in zip(layout, (images, masks), strict=True):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    return root


def test_scans_and_masks_pair_by_name_whatever_their_format(tmp_path):
    manifest = find_cases(_make(tmp_path / "set", ["b.nii.gz", "a.mha"], ["a.nii.gz", "b.nrrd"]))
    assert [(entry.id, entry.image.name, entry.mask.name) for entry in manifest.entries] == [
        ("a", "a.mha", "a.nii.gz"),
        ("b", "b.nii.gz", "b.nrrd"),
    ]
    assert (manifest.name, manifest.source, manifest.labels) == ("set", "nifti", {1: "nodule"})
    assert len({entry.patient for entry in manifest.entries}) == 2


def test_decathlon_folders_and_channel_suffixes_are_understood(tmp_path):
    root = _make(
        tmp_path, ["a_0000.nii.gz", "b.nii.gz", "._b.nii.gz"], ["a.nii.gz", "b.nii.gz"], ("imagesTr", "labelsTr")
    )
    assert [entry.id for entry in find_cases(root).entries] == ["a", "b"]
    assert find_cases(root, names={1: "lung", 3: "tumour"}).labels == {1: "lung", 3: "tumour"}


def test_a_table_groups_patients_and_brings_only_harmless_numbers(tmp_path):
    root = _make(tmp_path, ["a.nii", "b.nii", "c.nii"], ["a.nii", "b.nii", "c.nii"])
    (tmp_path / "cases.csv").write_text(
        "scan,person,diameter_mm,texture,series_uid,x_mm,patient_age,StudyDate,SeriesUID,note,spread\n"
        "a,Doe,12.5,5,1.2.3,4.0,63,20240101,7,smoker,nan\n"
        "b,Abel,7,3,1.2.4,5.0,64,20240102,8,,\n"
        "c,Doe,30,1,1.2.5,6.0,65,20240103,9,Doe,4\n"
    )
    manifest = find_cases(root, table="cases.csv", case_column="scan", patient_column="person")
    assert [entry.patient for entry in manifest.entries] == ["patient_0002", "patient_0001", "patient_0002"]
    assert [entry.extra for entry in manifest.entries] == [
        {"diameter_mm": 12.5, "texture": 5},
        {"diameter_mm": 7, "texture": 3},
        {"diameter_mm": 30, "texture": 1, "spread": 4},
    ]


def test_missing_folders_are_reported_with_the_layouts(tmp_path):
    with pytest.raises(DatasetError, match=r"images/ and masks/ or imagesTr/ and labelsTr/"):
        find_cases(tmp_path)


def test_an_empty_data_set_is_reported(tmp_path):
    with pytest.raises(DatasetError, match="the data set is empty"):
        find_cases(_make(tmp_path, [], []))


def test_scans_without_mask_and_masks_without_scan_are_reported_together(tmp_path):
    with pytest.raises(DatasetError, match=r"same name[\s\S]*only in images/ +2: b, c[\s\S]*only in masks/ +1: d"):
        find_cases(_make(tmp_path, ["a.nii", "b.nii", "c.nii"], ["a.nii", "d.nii"]))


def test_one_name_in_two_formats_is_reported(tmp_path):
    with pytest.raises(DatasetError, match=r"one file[\s\S]*a\.mha, a\.nii"):
        find_cases(_make(tmp_path, ["a.nii", "a.mha"], ["a.nii"]))


def test_a_missing_table_is_reported(tmp_path):
    with pytest.raises(DatasetError, match=r"table cannot be read[\s\S]*none\.csv"):
        find_cases(_make(tmp_path, ["a.nii"], ["a.nii"]), table="none.csv")


def test_a_missing_column_is_reported_with_those_there_are(tmp_path):
    root = _make(tmp_path, ["a.nii"], ["a.nii"])
    (root / "cases.csv").write_text("case,who\na,Doe\n")
    with pytest.raises(DatasetError, match=r"missing +patient[\s\S]*columns +case, who"):
        find_cases(root, table="cases.csv")


@pytest.mark.parametrize("row", ["other,Doe", "a,"])
def test_cases_without_a_patient_in_the_table_are_named(tmp_path, row):
    root = _make(tmp_path, ["a.nii"], ["a.nii"])
    (root / "cases.csv").write_text(f"case,patient\n{row}\n")
    with pytest.raises(DatasetError, match=r"patient of every case[\s\S]*1: a"):
        find_cases(root, table="cases.csv")


def test_a_case_listed_twice_is_named(tmp_path):
    root = _make(tmp_path, ["a.nii"], ["a.nii"])
    (root / "cases.csv").write_text("case,patient\na,Doe\na,Abel\n")
    with pytest.raises(DatasetError, match=r"each case once[\s\S]*a"):
        find_cases(root, table="cases.csv")


@pytest.mark.realdata
def test_real_nodules_are_grouped_by_patient():
    folder = Path(os.environ.get("SEGPIPE_REALDATA", "")) / "lidc_nodules"
    if not os.environ.get("SEGPIPE_REALDATA") or not folder.is_dir():
        pytest.skip("no real CT here: SEGPIPE_REALDATA does not point to any")
    manifest = find_cases(folder, table="nodules.csv", case_column="nodule", patient_column="patient")
    assert len(manifest.entries) == 810
    assert len({entry.patient for entry in manifest.entries}) == 446
    reported = str([entry.extra for entry in manifest.entries]) + str({entry.patient for entry in manifest.entries})
    assert "1.3.6.1" not in reported
    assert "LIDC" not in reported
    assert set(manifest.entries[0].extra) >= {"diameter_mm", "malignancy", "texture"}
    assert [e.split for e in assign_roles(manifest, fold=0).entries].count("test") == 161


def test_scans_are_found_without_masks_by_patient(tmp_path):
    _make(tmp_path, ["b.nii.gz", "a.nii.gz"], ["a.nii.gz"])
    (tmp_path / "patients.csv").write_text("case,patient\na,X\nb,X\n")
    found = find_scans(tmp_path, table="patients.csv")
    assert [(entry.id, entry.patient, entry.mask) for entry in found.entries] == [
        ("a", "patient_0001", None),
        ("b", "patient_0001", None),
    ]
    assert [entry.id for entry in find_scans(tmp_path / "images").entries] == ["a", "b"]


def test_a_folder_without_scans_is_named(tmp_path):
    with pytest.raises(DatasetError, match="a data folder must hold scans") as caught:
        find_scans(tmp_path)
    assert caught.value.facts["folder"] == tmp_path
