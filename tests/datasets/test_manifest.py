"""A manifest lists cases by names that lead nowhere; a foreign or garbled one is refused and never followed."""

import json
from pathlib import Path

import pytest

from segpipe.datasets.manifest import Entry, read_manifest
from segpipe.datasets.sources.folders import find_listed_cases
from segpipe.errors import DatasetError

GOOD = {"format": "segpipe-manifest-1", "name": "n", "source": "nifti", "labels": {"1": "nodule"}}
CASE = {"id": "a", "patient": "p", "image": "a.nii"}


def _write(folder, content):
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "manifest.json").write_text(text)
    return folder


def test_paths_count_from_the_folder(tmp_path):
    manifest = read_manifest(_write(tmp_path, {**GOOD, "cases": [CASE]}))

    assert manifest.entries == (Entry("a", "p", tmp_path / "a.nii"),)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "", "a/b", "a\\b", "C:a", "a\0b", "a\nb"])
def test_a_case_whose_name_would_lead_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(DatasetError, match="must have a name that a file can have") as caught:
        read_manifest(_write(tmp_path, {**GOOD, "cases": [CASE, {**CASE, "id": name}]}))
    assert str(caught.value.facts["where"]).endswith("entry 2")


def test_a_table_names_no_case_that_leads_elsewhere(tmp_path):
    (tmp_path / "cases.csv").write_text("case,image,mask\n../../evil,a.nii,\n")
    with pytest.raises(DatasetError, match="must have a name that a file can have"):
        find_listed_cases(tmp_path / "cases.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON"),
        ("[" * 100_000, "not readable JSON"),
        ("[]", "another format"),
        ({"format": "other"}, "another format"),
        ({"format": "segpipe-manifest-1"}, "lacks keys"),
        ({**GOOD, "cases": []}, "the data set is empty"),
        ({**GOOD, "cases": 5}, "the manifest is garbled"),
        ({**GOOD, "cases": [CASE], "labels": {"one": "nodule"}}, "the manifest is garbled"),
        ({**GOOD, "cases": [CASE], "labels": ["nodule"]}, "the manifest is garbled"),
        ({**GOOD, "cases": ["a"]}, "must have id, patient and image"),
        ({**GOOD, "cases": [{**CASE, "image": 5}]}, "must have id, patient and image"),
        ({**GOOD, "cases": [CASE, CASE]}, "case ids must be unique"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_reported(tmp_path, content, message):
    with pytest.raises(DatasetError, match=message):
        read_manifest(_write(tmp_path, content))


def test_a_missing_manifest_is_reported(tmp_path):
    with pytest.raises(DatasetError, match=r"must hold manifest\.json"):
        read_manifest(Path(tmp_path))
