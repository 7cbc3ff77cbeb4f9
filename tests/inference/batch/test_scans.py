"""Which scans an input names, and what they are called."""

from dataclasses import dataclass

import numpy as np
import pytest

from segpipe.errors import GeometryError, ImageError
from segpipe.geometry import Grid
from segpipe.inference.batch.scans import Scan, find_scans, number_clashes, number_slices
from segpipe.io.dicom.series.series import stack_series
from segpipe.io.images.volumes import write_volume
from tests.samples.synthetic_dicom import AXIAL, ct_slices, enhanced_ct, save, thorax

GRID = Grid((4, 5, 6), np.eye(4))
IMAGE = np.arange(120, dtype=np.int16).reshape(4, 5, 6)


def named(*names):
    return [Scan(name, lambda: None, lambda: 0, "") for name in names]


def names(scans):
    return [scan.name for scan in scans]


def test_a_file_is_one_scan_and_is_read_on_demand(tmp_path):
    (scan,) = find_scans(write_volume(tmp_path / "chest.01.nii.gz", IMAGE, GRID))
    assert scan.name == "chest.01"
    assert scan.count_voxels() == 120
    np.testing.assert_array_equal(scan.read().array, IMAGE)


def test_a_folder_is_all_its_image_files(tmp_path):
    for name in ("b.nrrd", "a.nii.gz", "c.mha"):
        write_volume(tmp_path / name, IMAGE, GRID)
    (tmp_path / "notes.txt").write_text("not a scan")
    assert names(find_scans(tmp_path)) == ["a", "b", "c"]


def test_names_that_clash_get_numbers(tmp_path):
    for name in ("a.nii.gz", "a.nrrd", "b.mha"):
        write_volume(tmp_path / name, IMAGE, GRID)
    assert names(find_scans(tmp_path)) == ["a-1", "a-2", "b"]


def test_a_number_that_is_a_name_already_is_left_out():
    assert names(number_clashes(named("a", "a", "a-1", "a-3"))) == ["a-2", "a-4", "a-1", "a-3"]


def test_numbers_go_on_after_a_name_that_is_taken():
    assert names(number_clashes(named("a", "a-2", "a", "A", "a"))) == ["a-1", "a-2", "a-3", "A-4", "a-5"]


def test_names_that_differ_in_case_alone_clash():
    assert names(number_clashes(named("Scan", "scan", "other"))) == ["Scan-1", "scan-2", "other"]


def test_the_stamp_changes_with_the_file(tmp_path):
    file = write_volume(tmp_path / "a.nii.gz", IMAGE, GRID)
    before = find_scans(file)[0].stamp
    assert find_scans(file)[0].stamp == before
    write_volume(file, IMAGE * 2, GRID)
    assert find_scans(file)[0].stamp != before


def test_an_unreadable_file_is_listed_and_reported_when_read(tmp_path):
    (tmp_path / "bad.nii.gz").write_bytes(b"x")
    (scan,) = find_scans(tmp_path)
    assert scan.count_voxels() == 1
    with pytest.raises(ImageError):
        scan.read()


def test_nothing_there_is_reported(tmp_path):
    with pytest.raises(ImageError, match="the input must exist"):
        find_scans(tmp_path / "missing")
    with pytest.raises(ImageError, match="no DICOM file found"):
        find_scans(tmp_path)


def test_slices_have_the_numbers_of_the_series_and_without_them_those_of_the_array(tmp_path):
    slices = ct_slices(thorax())
    (scan,) = find_scans(save(slices, tmp_path / "series"))
    grid = scan.read().grid
    finding = Numbered(slice_index=2, slice_number=3)
    assert number_slices([finding], scan, grid) == [Numbered(2, 498)]  # Instance Numbers fall from 500
    for dataset in slices:
        dataset.InstanceNumber = 1
    (scan,) = find_scans(save(slices, tmp_path / "without"))
    assert number_slices([finding], scan, grid) == [finding]
    (scan,) = find_scans(save([enhanced_ct(thorax(), AXIAL)], tmp_path / "enhanced"))
    planes = stack_series(scan.series).planes
    assert number_slices([finding], scan, grid) == [Numbered(2, planes[2].frame + 1)]


@dataclass(frozen=True)
class Numbered:
    slice_index: int
    slice_number: int


@pytest.mark.realdata
def test_a_dicom_folder_is_its_series(realdata):
    (scan,) = find_scans(realdata / "nsclc_radiomics" / "LUNG1-001")
    assert scan.name == "LUNG1-001"
    assert scan.count_voxels() == 512 * 512 * 134
    assert scan.series is not None


def test_two_acquisitions_half_a_slice_apart_are_said_when_the_scan_is_read(tmp_path, caplog):
    slices = ct_slices(thorax())
    for number, dataset in enumerate(slices):
        dataset.AcquisitionNumber = number % 2 + 1

    (scan,) = find_scans(save(slices, tmp_path / "scan"))
    scan.read()

    assert caplog.messages == ["scan: slices of 2 acquisitions alternate and are read as one scan"]


@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_a_scan_in_another_unit_is_refused_before_it_is_predicted(tmp_path, scale):
    (scan,) = find_scans(write_volume(tmp_path / "a.nii", IMAGE, Grid((4, 5, 6), np.diag([scale, scale, scale, 1]))))

    with pytest.raises(GeometryError, match="must be in millimetres"):
        scan.read_case()
