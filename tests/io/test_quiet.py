"""Nothing of a patient is said on any stream, whatever a file holds and however many threads read and write."""

import logging
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from segpipe.io.dicom.objects import Derivation, FindingMap, Maker
from segpipe.io.dicom.rtstruct.reading import read_region_names, read_rtstruct
from segpipe.io.dicom.rtstruct.writing import write_rtstruct
from segpipe.io.dicom.seg.reading import read_dicom_seg, read_segment_labels
from segpipe.io.dicom.seg.writing import write_dicom_seg
from segpipe.io.dicom.series.series import find_series, read_series, read_source_datasets
from segpipe.io.dicom.sr import write_dicom_sr
from segpipe.io.images.volumes import read_volume, write_volume
from segpipe.io.pacs.errors import asking
from segpipe.io.quiet import quiet_foreign_threads, quiet_libraries
from segpipe.labels import NODULE
from tests.samples.synthetic_dicom import ct_slices, save, set_odd, thorax
from tests.samples.synthetic_structures import structure_set

SECRETS = ("1.2.3.04", "1.2.3.05", "1.2.3.06", "19.05.1950", "Secret", "SECRET", "hundred-secrets")
ODD = {
    "StudyInstanceUID": "1.2.3.06.8888",
    "SeriesInstanceUID": "1.2.3.05.7777",
    "PatientName": "Secret^A^B^C^D^E=F=G=H",
    "PatientBirthDate": "19.05.1950",
    "PatientSex": "SECRETLY",
    "PatientAge": "SECRET years",
    "StudyDate": "SECRET date",
    "StudyTime": "SECRET o'clock",
    "AccessionNumber": "SECRET" * 12,
    "InstanceNumber": "SECRET",
    "AcquisitionNumber": "SECRET",
    "SeriesNumber": "SECRET",
    "SliceThickness": "5,0 SECRET",
    "KVP": "hundred-secrets",
    "SpecificCharacterSet": "SECRET 100",
    "BodyPartExamined": "secret chest",
}
MAKER = Maker("m", "1", "0123abcd", "0.1")


@pytest.fixture
def odd_folder(tmp_path):
    slices = set_odd(ct_slices(thorax()), **ODD)
    for number, dataset in enumerate(slices):
        set_odd([dataset], SOPInstanceUID=f"1.2.3.04.{number}")
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    with quiet_libraries():
        structures = structure_set(slices, [("GTV", [(((2.5, 3.5), (8.5, 9.5)), 3)])])
        save(slices, tmp_path / "in")
        save(set_odd([structures], **ODD), tmp_path / "in" / "rt")
    return tmp_path / "in"


def read_and_write_everything(folder, output):
    """Every path on which something of a series is read or written."""
    scan = find_series(folder)
    (series,), (structures,) = scan.series, scan.annotations
    volume = read_series(series)
    read_source_datasets(series)
    read_region_names(structures.file, series)
    mask = read_rtstruct(structures.file, series)["GTV"]
    derivation = Derivation(series, (NODULE,), MAKER)
    segmentation = write_dicom_seg(output / "seg.dcm", [FindingMap(NODULE, mask)], derivation=derivation)
    write_dicom_sr(output / "sr.dcm", [], derivation=derivation, segmentation=segmentation)
    write_rtstruct(output / "rt.dcm", [FindingMap(NODULE, mask)], derivation=derivation)
    read_segment_labels(segmentation)
    assert (read_dicom_seg(segmentation, series)["nodule 1"] == mask).all()
    read_volume(write_volume(output / "a.nii.gz", volume.array, volume.grid))
    read_volume(write_volume(output / "a.mha", volume.array, volume.grid))
    with asking("pacs", "search"):
        str(Dataset.from_json({"0020000D": {"vr": "UI", "Value": ["1.2.3.06.8888"]}}).StudyInstanceUID)
    assert mask.sum() == 36


def test_nothing_of_a_patient_is_said_by_any_thread(odd_folder, tmp_path, capfd):
    handler = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(handler)
    mode = pydicom.config.settings.reading_validation_mode
    try:
        with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
            warnings.simplefilter("always")
            list(pool.map(lambda number: read_and_write_everything(odd_folder, tmp_path / f"{number}"), range(8)))
    finally:
        logging.getLogger().removeHandler(handler)
    said = "".join(capfd.readouterr())
    assert [secret for secret in SECRETS if secret in said] == []
    assert pydicom.config.settings.reading_validation_mode == mode


def test_other_threads_are_not_silenced_and_nothing_stays_off():
    inside, done = threading.Event(), threading.Event()

    def be_quiet():
        with quiet_libraries():
            warnings.warn("not said", stacklevel=1)
            inside.set()
            done.wait(10)

    reader = threading.Thread(target=be_quiet)
    reader.start()
    inside.wait(10)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.warn("said", stacklevel=1)
    done.set()
    reader.join()
    assert [str(one.message) for one in said] == ["said"]
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        Dataset.from_json({"0020000D": {"vr": "UI", "Value": ["1.2.04"]}})


def test_blocks_that_overlap_leave_the_switches_of_the_process_as_they_were():
    before = pydicom.config.settings.reading_validation_mode
    first, second = quiet_libraries(), quiet_libraries()
    threads = [ThreadPoolExecutor(1), ThreadPoolExecutor(1)]
    threads[0].submit(first.__enter__).result()
    threads[1].submit(second.__enter__).result()
    threads[0].submit(first.__exit__, None, None, None).result()
    assert pydicom.config.settings.reading_validation_mode == pydicom.config.IGNORE
    threads[1].submit(second.__exit__, None, None, None).result()
    assert pydicom.config.settings.reading_validation_mode == before
    for thread in threads:
        thread.shutdown()


def test_a_filter_of_warnings_that_comes_later_does_not_matter():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_libraries():
            warnings.warn("not raised", stacklevel=1)
            assert np.isinf(np.array([1.0]) / 0)


def test_filters_do_not_pile_up():
    with warnings.catch_warnings():
        for _ in range(5):
            warnings.simplefilter("error")
            with quiet_libraries():
                warnings.warn("not raised", stacklevel=1)
        assert len(set(map(str, warnings.filters))) == len(warnings.filters)


def test_threads_that_a_library_starts_are_silent_and_others_are_not():
    said = []

    def speak():
        Dataset.from_json({"0020000D": {"vr": "UI", "Value": ["1.2.04"]}})
        try:
            warnings.warn("ours", stacklevel=1)
        except UserWarning as warning:
            said.append(str(warning))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_foreign_threads(), ThreadPoolExecutor(1) as pool:
            pool.submit(speak).result()
    assert said == ["ours"]
    assert pydicom.config.settings.reading_validation_mode == pydicom.config.WARN
