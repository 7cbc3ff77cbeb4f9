"""The real series are read as ITK reads them, and every defect made in them is found."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from segpipe.errors import GeometryError
from segpipe.geometry import flip_ras_lps
from segpipe.io.dicom.series.series import find_series, read_series, stack_series
from tests.samples.synthetic_dicom import read_with_sitk

ROOT = Path(os.environ.get("SEGPIPE_REALDATA", "/nowhere"))
SERIES = {
    "LUNG1-001": (ROOT / "nsclc_radiomics" / "LUNG1-001", 134),
    "LUNG1-002": (ROOT / "nsclc_radiomics" / "LUNG1-002", 111),
    "A0001-series2": (ROOT / "lung_pet_ct_dx" / "A0001-series2", 64),
    "A0001-series3": (ROOT / "lung_pet_ct_dx" / "A0001-series3", 64),
}
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not ROOT.is_dir(), reason="SEGPIPE_REALDATA names no folder with the real CT"),
]


@pytest.mark.parametrize("name", SERIES)
def test_a_real_series_is_read_as_itk_reads_it(name):
    folder, count = SERIES[name]
    (series,) = find_series(folder).series

    volume = read_series(series)

    expected, affine = read_with_sitk(folder, series.identity.series_uid)
    assert volume.grid.shape == (512, 512, count)
    assert np.array_equal(volume.array, expected)
    assert_allclose(flip_ras_lps(volume.grid.affine), affine, atol=1e-3)


def test_two_kernels_of_one_scan_are_two_series_on_one_grid():
    scan = find_series(ROOT / "lung_pet_ct_dx")

    grids = [stack_series(series).upright for series in scan.series]

    assert [series.facts["kernel"] for series in scan.series] == ["L", "B"]
    assert grids[0].matches(grids[1])


def test_plan_and_dose_are_left_out_and_the_structure_set_is_found():
    scan = find_series(ROOT / "nsclc_radiomics")

    assert scan.left_out == {"RT Dose, no CT image": 2, "RT Plan, no CT image": 2}
    assert [[annotation.refers_to(series) for annotation in scan.annotations] for series in scan.series] == [
        [True, False],
        [False, True],
    ]


@pytest.fixture
def linked(tmp_path):
    """A folder of links to the slices of LUNG1-001, ascending, ready to be spoilt."""
    (series,) = find_series(SERIES["LUNG1-001"][0]).series
    for number, plane in enumerate(stack_series(series).planes):
        (tmp_path / f"{number:03d}.dcm").symlink_to(plane.file.path)
    return tmp_path


def test_a_missing_slice_of_a_real_series_is_found_and_mended_only_when_asked(linked):
    (linked / "060.dcm").unlink()
    (linked / "061.dcm").unlink()
    (series,) = find_series(linked).series

    with pytest.raises(GeometryError, match="slices are missing") as caught:
        read_series(series)

    assert caught.value.facts["found"] == "2 of 134 slices: 2 after slice 60"
    mended = read_series(series, repair=("missing",)).array
    whole = read_series(find_series(SERIES["LUNG1-001"][0]).series[0]).array
    assert mended.shape == whole.shape
    assert np.array_equal(mended[:, :, :60], whole[:, :, :60])
    expected = np.rint(whole[:, :, 59] * 2 / 3 + whole[:, :, 62] / 3)
    assert np.abs(mended[:, :, 60] - expected).max() <= 1


def test_a_slice_copied_under_its_own_name_does_no_harm_but_one_at_the_same_place_does(linked):
    import pydicom

    copy = pydicom.dcmread(linked / "050.dcm")
    copy.save_as(linked / "copy.dcm")
    scan = find_series(linked)
    assert scan.left_out == {"a copy of a slice already found": 1}
    stack_series(scan.series[0])

    copy.SOPInstanceUID = f"{copy.SOPInstanceUID}.1"
    copy.save_as(linked / "copy.dcm")
    with pytest.raises(GeometryError, match="several slices lie at one place"):
        stack_series(find_series(linked).series[0])
