"""DICOM as a hospital hands it over becomes a data set that names nobody, or a list of what is wrong with it."""

import csv
import json
import os
import signal
import stat
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from segpipe.cli.ingest import run
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.dicom import parse_regions, parse_repair
from segpipe.datasets.sources.registry import SOURCES
from segpipe.errors import ConfigError, GeometryError, LabelError, SegpipeError
from segpipe.io.images.volumes import read_volume
from tests.samples.hospital_folders import BOX, FAR, SMALL, all_text, ingest_folder, patient_folder
from tests.samples.synthetic_dicom import PATIENT, other_object, save, thorax
from tests.support.processes import Process, as_main

SHAPE = (40, 36, 9)


def test_scan_and_mask_are_written_on_one_grid(tmp_path):
    patient_folder(tmp_path / "in" / PATIENT, {"GTV-1": BOX, "Lung L": FAR})

    manifest, made = ingest_folder(tmp_path, roi="GTV.*")

    (entry,) = manifest.entries
    image, mask = read_volume(entry.image), read_volume(entry.mask)
    assert image.array.dtype == np.int16
    assert_array_equal(image.array, thorax())
    assert image.grid.matches(mask.grid)
    expected = np.zeros(SHAPE, np.uint8)
    expected[3:9, 4:10, 3] = 1
    assert_array_equal(mask.array, expected)
    assert manifest.labels == {1: "nodule"}
    assert made.new == 1
    assert {key: entry.extra[key] for key in ("spacing_mm", "shape", "lesions", "kernel", "regions")} == {
        "spacing_mm": [0.8, 0.7, 2.5],
        "shape": [40, 36, 9],
        "lesions": 1,
        "kernel": "B30f",
        "regions": ["GTV-1"],
    }


def test_several_regions_are_merged_or_kept_as_labels(tmp_path):
    patient_folder(tmp_path / "in", {"GTV-1": BOX, "gtv-2": SMALL, "Lung L": FAR})

    merged, _ = ingest_folder(tmp_path, roi="GTV.*")
    assert np.bincount(read_volume(merged.entries[0].mask).array.ravel())[1:].tolist() == [36 + 8 - 4]
    kept, made = ingest_folder(tmp_path, roi="first=GTV-1;second=gtv-2;lung=Lung.*")
    assert np.bincount(read_volume(kept.entries[0].mask).array.ravel())[1:].tolist() == [36, 4, 4]
    assert kept.labels == {1: "first", 2: "second", 3: "lung"}
    turned, _ = ingest_folder(tmp_path, roi="lung=Lung.*;tumour=GTV-1")
    assert turned.entries[0].extra["lesions"] == 1
    assert made.new == 1


def test_the_only_region_needs_no_choice_but_several_do(tmp_path):
    patient_folder(tmp_path / "in" / "a", {"Tumour": BOX}, patient="A")
    patient_folder(tmp_path / "in" / "b", {"GTV-1": BOX, "Lung L": FAR}, patient="B")

    manifest, made = ingest_folder(tmp_path)

    assert [entry.id for entry in manifest.entries] == ["case_0001"]
    (error,) = made.errors
    assert isinstance(error, LabelError)
    assert error.message == "several regions could be the mask"
    assert error.facts["case"] == "case_0002"
    assert error.facts["known"] == "GTV-1, Lung L"
    assert "--roi" in error.hint


def test_one_bad_case_does_not_stop_the_others(tmp_path):
    patient_folder(tmp_path / "in" / "a", {"GTV-1": BOX}, patient="A")
    patient_folder(tmp_path / "in" / "b", {"GTV-1": BOX}, patient="B", spoil=lambda slices: slices.pop(4))
    patient_folder(tmp_path / "in" / "c", {"Heart": BOX}, patient="C")

    manifest, made = ingest_folder(tmp_path, roi="GTV.*")

    assert [entry.id for entry in manifest.entries] == ["case_0001"]
    assert [type(error) for error in made.errors] == [GeometryError, LabelError]
    assert made.errors[0].facts["found"] == "1 of 9 slices: 1 after slice 4"
    assert made.errors[1].facts["known"] == "Heart"


def test_a_mended_series_is_marked(tmp_path):
    patient_folder(tmp_path / "in", {"GTV-1": BOX}, spoil=lambda slices: slices.pop(4))

    manifest, made = ingest_folder(tmp_path, roi="GTV.*", repair="missing")

    assert made.errors == ()
    assert manifest.entries[0].extra["repaired"] == ["missing: 1 of 9 slices: 1 after slice 4"]
    assert read_volume(manifest.entries[0].image).array.shape == SHAPE


def test_what_was_left_out_is_reported_with_its_reason(tmp_path):
    patient_folder(tmp_path / "in" / "a", {"GTV-1": BOX})
    patient_folder(tmp_path / "in" / "b", None, seed=4)
    save([other_object("1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN")], tmp_path / "in" / "c")

    _, made = ingest_folder(tmp_path, roi="GTV.*")

    assert made.notes == (
        "left out: RT Plan, no CT image (1)",
        "left out: a series to which no structure set or segmentation refers (1)",
    )


def test_what_was_left_out_is_reported_to_the_user(tmp_path, capsys):
    patient_folder(tmp_path / "in", {"GTV-1": BOX})
    save([other_object("1.2.840.10008.5.1.4.1.1.481.5", "RTPLAN")], tmp_path / "in" / "plan")
    words = ["--source", "dicom", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "data")]
    assert run([*words, "--workers", "0"]) == 0
    assert "left out: RT Plan, no CT image (1)" in capsys.readouterr().out


def test_series_without_any_annotation_are_scans_without_mask(tmp_path):
    patient_folder(tmp_path / "in", None)

    manifest, _ = ingest_folder(tmp_path)

    assert manifest.entries[0].mask is None


def test_series_of_one_patient_share_the_patient(tmp_path):
    patient_folder(tmp_path / "in" / "a", None, patient="A")
    patient_folder(tmp_path / "in" / "b", None, patient="A", seed=5)
    patient_folder(tmp_path / "in" / "c", None, patient="C", seed=6)

    manifest, _ = ingest_folder(tmp_path)

    assert [entry.patient for entry in manifest.entries] == ["patient_0001", "patient_0001", "patient_0002"]


def test_a_second_call_does_only_what_is_missing_and_keeps_the_names(tmp_path):
    patient_folder(tmp_path / "in" / "m", {"GTV-1": BOX}, patient="M")
    patient_folder(tmp_path / "in" / "n", {"GTV-1": BOX}, patient="N", seed=4)
    first, _ = ingest_folder(tmp_path)
    first.entries[0].mask.unlink()
    written = first.entries[1].image.stat().st_mtime_ns
    patient_folder(tmp_path / "in" / "a", {"GTV-1": BOX}, patient="N", seed=5)

    second, made = ingest_folder(tmp_path)

    assert made.new == 2
    assert [(entry.id, entry.patient) for entry in second.entries] == [
        ("case_0003", "patient_0002"),
        ("case_0001", "patient_0001"),
        ("case_0002", "patient_0002"),
    ]
    assert second.entries[1] == first.entries[0]
    assert second.entries[2].image.stat().st_mtime_ns == written
    assert ingest_folder(tmp_path)[1].new == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_ingest_goes_on_where_it_stopped(tmp_path):
    for number in range(12):
        patient_folder(tmp_path / "in" / f"{number}", {"GTV-1": BOX}, seed=number)
    words = ["--source", "dicom", "--input", tmp_path / "in", "--output", tmp_path / "data", "--workers", "0"]
    work = (as_main, "segpipe", ["ingest", *map(str, words)])
    ingest = Process(*work, cwd=tmp_path, log=tmp_path / "log")
    while not list((tmp_path / "data" / ".done").glob("case_*.json")):
        assert ingest.returncode is None
        time.sleep(0.002)
    assert ingest.end(signal.SIGKILL) == -signal.SIGKILL
    done = len(list((tmp_path / "data" / ".done").glob("case_*.json")))
    assert done < 12
    assert not (tmp_path / "data" / "manifest.json").exists()

    manifest, made = ingest_folder(tmp_path)

    assert (len(made.entries), made.new) == (12, 12 - done)
    assert len({entry.id for entry in manifest.entries}) == 12
    assert all(read_volume(entry.mask).array.sum() == 36 for entry in manifest.entries)
    assert ingest_folder(tmp_path)[1].new == 0


def test_another_choice_of_regions_makes_the_cases_again(tmp_path):
    patient_folder(tmp_path / "in", {"GTV-1": BOX, "GTV-2": FAR})
    ingest_folder(tmp_path, roi="GTV-1")

    manifest, made = ingest_folder(tmp_path, roi="GTV-2")

    assert made.new == 1
    assert read_volume(manifest.entries[0].mask).array.sum() == 4


def test_nothing_of_the_patient_enters_the_data_set_or_the_output(tmp_path, capsys):
    slices = patient_folder(tmp_path / "in" / PATIENT, {"GTV-1": BOX})
    patient_folder(tmp_path / "in" / "other", {"Heart": BOX}, seed=4, spoil=lambda slices: slices.pop(4))

    words = ["--source", "dicom", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "data")]
    assert run([*words, "--roi", "GTV.*", "--workers", "0"]) == 2

    captured = capsys.readouterr()
    everything = all_text(tmp_path / "data") + captured.out.encode() + captured.err.encode()
    first = slices[0]
    uids = [first.StudyInstanceUID, first.SeriesInstanceUID, first.FrameOfReferenceUID, first.SOPInstanceUID]
    for secret in ["Secret", "SECRET-ID", "19500101", "20200102", *uids]:
        assert secret.encode() not in everything
    assert "slices are missing" in captured.err
    assert not (tmp_path / "data.ids.csv").exists()


def test_who_is_who_is_kept_next_to_the_data_set_for_its_owner_alone_when_asked(tmp_path):
    slices = patient_folder(tmp_path / "in", {"GTV-1": BOX})

    ingest_folder(tmp_path, keep_ids=True)

    file = tmp_path / "data.ids.csv"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data" / ".done" / "names.json").stat().st_mode) == 0o600
    (row,) = csv.DictReader(file.read_text().splitlines())
    assert row["case"] == "case_0001"
    assert row["patient_id"] == "SECRET-ID"
    assert row["series_uid"] == slices[0].SeriesInstanceUID


def test_nsclc_takes_all_tumours_and_keeps_the_lungs(tmp_path):
    patient_folder(tmp_path / "in", {"GTV-1": BOX, "GTV-2": FAR, "Lung L": SMALL, "Lung R": FAR, "Heart": BOX})

    manifest, _ = ingest_folder(tmp_path, "nsclc-radiomics")

    (entry,) = manifest.entries
    assert manifest.labels == {1: "tumour"}
    assert read_volume(entry.mask).array.sum() == 40
    assert read_volume(tmp_path / "data" / entry.extra["lung_mask"]).array.sum() == 12


def test_segments_serve_where_there_is_no_structure_set(tmp_path):
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    slices = patient_folder(tmp_path / "in", None)
    mask = np.zeros(SHAPE, np.uint8)
    mask[5:8, 6:9, 2] = 1
    description = highdicom.seg.SegmentDescription(
        1, "Nodule", codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Nodule, "MANUAL"
    )
    uids = generate_uid(), 2, generate_uid(), 1
    pixels = mask.transpose(2, 1, 0)
    segments = highdicom.seg.Segmentation(slices, pixels, "BINARY", [description], *uids, "m", "n", "1", "s")
    segments.save_as(tmp_path / "in" / "seg.dcm")

    manifest, _ = ingest_folder(tmp_path)

    assert_array_equal(read_volume(manifest.entries[0].mask).array, mask)


def test_flags_are_read():
    assert parse_regions(None, "nodule") == {"nodule": None}
    assert parse_regions("GTV.*", "tumour") == {"tumour": "GTV.*"}
    assert parse_regions("a=x;b=y|z", "tumour") == {"a": "x", "b": "y|z"}
    assert parse_repair("missing, tilt") == ("missing", "tilt")
    with pytest.raises(ConfigError, match="no regular expression"):
        parse_regions("GTV(", "nodule")
    with pytest.raises(ConfigError, match="unknown repair"):
        parse_repair("magic")


def test_a_damaged_list_of_names_is_reported(tmp_path):
    patient_folder(tmp_path / "in", None)
    (tmp_path / "data" / ".done").mkdir(parents=True)
    (tmp_path / "data" / ".done" / "names.json").write_text("[")

    with pytest.raises(SegpipeError, match="list of known cases is damaged"):
        ingest_folder(tmp_path)


@pytest.mark.realdata
@pytest.mark.slow
def test_the_real_collection_gives_the_published_tumours(tmp_path, realdata):
    given = {flag.name: flag.default for flag in SOURCES["nsclc-radiomics"].flags}
    request = IngestRequest(tmp_path / "data", realdata / "nsclc_radiomics", workers=0, options=given)

    manifest, made = SOURCES["nsclc-radiomics"].read(request)

    voxels = [int(read_volume(entry.mask).array.sum()) for entry in manifest.entries]
    assert voxels == pytest.approx([54_449, 125_204], rel=0.01)
    for entry in manifest.entries:
        lungs = read_volume(tmp_path / "data" / entry.extra["lung_mask"]).array
        assert lungs.sum() > 1_000_000
    assert made.notes == ("left out: RT Dose, no CT image (2)", "left out: RT Plan, no CT image (2)")
    assert "LUNG1" not in json.dumps([entry.extra for entry in manifest.entries])
