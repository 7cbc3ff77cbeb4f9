"""What bad software hands over, ingested as a user would: each fault costs what it spoils and nothing else."""

import json

import pytest

from segpipe.cli.ingest import run
from segpipe.errors import ConfigError, ImageError
from segpipe.io.images.volumes import read_volume
from tests.samples.hospital_folders import BOX, FAR, SMALL, ingest_folder, patient_folder
from tests.samples.synthetic_dicom import ct_slices, save, thorax
from tests.samples.synthetic_structures import structure_set

TRACED = (((10, 5), (14, 8)), 3)


def _with_structures(folder, rois, *, spoil=None, patient="SECRET-ID", seed=3):
    slices = ct_slices(thorax(seed=seed))
    for dataset in slices:
        dataset.PatientID = patient
    structures = structure_set(slices, rois)
    if spoil:
        spoil(structures)
    save(slices, folder / "ct")
    save([structures], folder / "rt")


def _voxels(manifest):
    return [int((read_volume(entry.mask).array > 0).sum()) for entry in manifest.entries]


def test_two_patients_in_one_series_are_two_cases_of_two_patients(tmp_path, capsys):
    first = patient_folder(tmp_path / "in" / "a", None, patient="A")

    def give_uid(slices):
        for dataset in slices:
            dataset.SeriesInstanceUID = first[0].SeriesInstanceUID

    patient_folder(tmp_path / "in" / "b", None, patient="B", seed=4, spoil=give_uid)

    words = ["--source", "dicom", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "data")]
    assert run([*words, "--repair", "duplicate,missing,uneven", "--workers", "0"]) == 0

    cases = json.loads((tmp_path / "data" / "manifest.json").read_text())["cases"]
    assert [case["patient"] for case in cases] == ["patient_0001", "patient_0002"]
    assert [case["extra"]["shape"] for case in cases] == [[40, 36, 9]] * 2
    assert "2 series share their UID with one of another patient or study" in capsys.readouterr().out


def test_two_patients_whose_files_have_the_same_uids_are_two_cases(tmp_path):
    first = patient_folder(tmp_path / "in" / "a", None, patient="A")

    def give_uids(slices):
        for dataset, other in zip(slices, first, strict=True):
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(dataset, keyword, getattr(other, keyword))

    patient_folder(tmp_path / "in" / "b", None, patient="B", seed=4, spoil=give_uids)

    manifest, _ = ingest_folder(tmp_path)

    assert [entry.patient for entry in manifest.entries] == ["patient_0001", "patient_0002"]
    assert ingest_folder(tmp_path)[1].new == 0


@pytest.mark.parametrize(("kind", "roi"), [("dicom", "GTV-1"), ("dicom", None), ("nsclc-radiomics", None)])
def test_both_regions_of_one_name_are_in_the_mask(tmp_path, kind, roi):
    _with_structures(tmp_path / "in", [("GTV-1", [BOX]), ("GTV-1", [FAR])])

    manifest, _ = ingest_folder(tmp_path, kind, **({"roi": roi} if roi else {}))

    assert _voxels(manifest) == [36 + 4]
    assert manifest.entries[0].extra["regions"] == ["GTV-1"]


def test_lungs_of_one_name_are_united(tmp_path):
    _with_structures(tmp_path / "in", [("GTV-1", [BOX]), ("Lung", [SMALL]), ("Lung", [FAR])])

    manifest, _ = ingest_folder(tmp_path, "nsclc-radiomics")

    lungs = read_volume(tmp_path / "data" / manifest.entries[0].extra["lung_mask"])
    assert lungs.array.sum() == 8 + 4


def _empty_the_second(structures):
    structures.ROIContourSequence[1].ContourSequence[0].ContourData = None


def test_a_damaged_region_costs_its_case_only_when_it_was_asked_for(tmp_path):
    _with_structures(tmp_path / "in" / "good", [("GTV", [BOX])], patient="A")
    rois = [("GTV", [BOX]), ("COUCH", [BOX])]
    _with_structures(tmp_path / "in" / "bad", rois, patient="B", seed=4, spoil=_empty_the_second)

    manifest, made = ingest_folder(tmp_path, roi="GTV")
    assert _voxels(manifest) == [36, 36]
    assert made.errors == ()
    manifest, made = ingest_folder(tmp_path, roi="GTV|COUCH")
    assert _voxels(manifest) == [36]
    (error,) = made.errors
    assert isinstance(error, ImageError)
    assert error.facts["roi"] == "COUCH"


@pytest.mark.parametrize(
    ("border", "voxels", "fact"),
    [
        (None, 20, {"contour_border_included": ["GTV"]}),
        ("include", 20, {"contour_border": "include"}),
        ("exclude", 6, {"contour_border": "exclude"}),
    ],
)
def test_the_manifest_says_what_the_border_of_a_traced_mask_counts_as(tmp_path, border, voxels, fact):
    _with_structures(tmp_path / "in", [("GTV", [TRACED])])

    manifest, _ = ingest_folder(tmp_path, contour_border=border)

    assert _voxels(manifest) == [voxels]
    extra = manifest.entries[0].extra
    assert {name: value for name, value in extra.items() if name.startswith("contour")} == fact


def test_an_unknown_border_is_reported(tmp_path):
    _with_structures(tmp_path / "in", [("GTV", [TRACED])])

    with pytest.raises(ConfigError, match="unknown --contour-border") as caught:
        ingest_folder(tmp_path, contour_border="both")
    assert caught.value.facts["known"] == "auto, include, exclude"


def test_two_acquisitions_half_a_slice_apart_are_said(tmp_path):
    def interleave(slices):
        for number, dataset in enumerate(slices):
            dataset.AcquisitionNumber = number % 2 + 1

    patient_folder(tmp_path / "in", None, spoil=interleave)

    manifest, made = ingest_folder(tmp_path)

    remark = "slices of 2 acquisitions alternate and are read as one scan"
    assert manifest.entries[0].extra["remarks"] == [remark]
    assert made.notes == (f"case_0001: {remark}",)
