"""DICOM as it comes: zips, DICOMDIRs and multi-frame files are read in place; what cannot be opened stops nothing."""

import os
import re
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from pydicom import dcmread

from segpipe.__main__ import main
from segpipe.cli.ingest import run
from segpipe.datasets.manifest import read_manifest
from segpipe.datasets.sources.base import IngestRequest
from segpipe.datasets.sources.registry import SOURCES
from segpipe.io.images.volumes import read_volume
from tests.samples.hospital_folders import BOX, ingest_folder, patient_folder
from tests.samples.synthetic_dicom import AXIAL, enhanced_ct, save, thorax
from tests.samples.synthetic_structures import structure_set


def test_a_zip_is_ingested_and_the_manifest_reads_back(tmp_path):
    patient_folder(tmp_path / "files", {"GTV-1": BOX})
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "scan.zip", "w") as archive:
        for file in sorted((tmp_path / "files").rglob("*")):
            archive.write(file, file.relative_to(tmp_path / "files"))

    words = ["--source", "dicom", "--input", str(tmp_path / "in" / "scan.zip"), "--output", str(tmp_path / "data")]
    assert run([*words, "--label", "tumour", "--workers", "0"]) == 0

    manifest = read_manifest(tmp_path / "data")
    assert manifest.labels == {1: "tumour"}
    assert read_volume(manifest.entries[0].mask).array.sum() == 36


def _zip_of(folder, file, prefix):
    with zipfile.ZipFile(file, "w") as archive:
        for member in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(member, f"{prefix}{member.parent.name}-{member.name}")
    return file


def test_a_zip_whose_members_lead_out_of_it_writes_nothing_outside(tmp_path, monkeypatch):
    patient_folder(tmp_path / "files", {"GTV-1": BOX})
    for name in ("in", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    _zip_of(tmp_path / "files", tmp_path / "in" / "scan.zip", "../escaped/")

    manifest, _ = ingest_folder(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "files", "here", "in"]
    assert read_volume(manifest.entries[0].mask).array.sum() == 36


def test_a_dicomdir_is_ingested_with_the_structure_set_it_lists(tmp_path):
    from pydicom.fileset import FileSet

    slices = patient_folder(tmp_path / "files", {"GTV-1": BOX})
    medium = FileSet()
    for number, file in enumerate(sorted(path for path in (tmp_path / "files").rglob("*") if path.is_file())):
        dataset = dcmread(file)
        dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID = "A^B", "X", slices[0].StudyInstanceUID
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200102", "101010", "1"
        dataset.SeriesNumber, dataset.InstanceNumber = 1, number
        dataset.StructureSetLabel, dataset.StructureSetDate, dataset.StructureSetTime = "a", "20200102", "101010"
        medium.add(dataset)
    medium.write(tmp_path / "medium")
    medium._stage["t"].cleanup()

    given = {flag.name: flag.default for flag in SOURCES["dicom"].flags}
    listed = IngestRequest(tmp_path / "data", tmp_path / "medium" / "DICOMDIR", workers=0, options=given)
    manifest, _ = SOURCES["dicom"].read(listed)

    assert read_volume(manifest.entries[0].mask).array.sum() == 36


def test_links_to_nothing_and_pipes_do_not_stop_the_others(tmp_path):
    patient_folder(tmp_path / "in", {"GTV-1": BOX})
    (tmp_path / "in" / "gone.dcm").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "in" / "pipe")

    manifest, made = ingest_folder(tmp_path)

    assert len(manifest.entries) == 1
    assert made.notes == ("left out: a file that cannot be opened (gone, forbidden, or in a zip with a password) (1)",)


@pytest.mark.parametrize(("offset", "flag"), [((6, 8), 1), ((8, 10), 99)], ids=["password", "unknown compression"])
def test_a_zip_that_cannot_be_opened_is_reported(tmp_path, capsys, offset, flag):
    patient_folder(tmp_path / "files", {"GTV-1": BOX})
    (tmp_path / "in").mkdir()
    file = _zip_of(tmp_path / "files", tmp_path / "in" / "scan.zip", "")
    content = bytearray(file.read_bytes())
    for signature, place in zip((b"PK\x03\x04", b"PK\x01\x02"), offset, strict=True):
        for found in re.finditer(re.escape(signature), bytes(content)):
            content[found.start() + place] = flag
    file.write_bytes(content)

    words = ["ingest", "--source", "dicom", "--input", str(file), "--output", str(tmp_path / "data")]
    assert main(words) == 2
    assert "in a zip with a password)  10 files" in capsys.readouterr().err


def test_an_enhanced_multi_frame_ct_is_ingested_with_its_structure_set(tmp_path):
    whole = enhanced_ct(thorax(), AXIAL)
    save([whole, structure_set([whole], [("GTV-1", [BOX])])], tmp_path / "in")

    manifest, _ = ingest_folder(tmp_path)

    (entry,) = manifest.entries
    assert_array_equal(read_volume(entry.image).array, thorax())
    expected = np.zeros(thorax().shape, np.uint8)
    expected[3:9, 4:10, 3] = 1
    assert_array_equal(read_volume(entry.mask).array, expected)
