"""What a scan measures does not depend on how its file lies, and says what the scanner did."""

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.corruptions import corrupt
from segpipe.geometry import Grid
from segpipe.inference.batch.scans import find_scans
from segpipe.preprocessing.scan_profile import QUANTITIES, profile_scan
from tests.samples.synthetic_lungs import LUNG_HU, TISSUE_HU, crop, lungs


def test_sizes_densities_and_lungs_are_measured():
    found = profile_scan(lungs(sd=10.0))
    assert set(found) == set(QUANTITIES)
    assert (found["pixel_mm"], found["slice_mm"], found["lungs"]) == (2.5, 3.0, 1.0)
    assert (found["width_mm"], found["depth_mm"], found["height_mm"]) == (240.0, 180.0, 156.0)
    assert found["lung_hu"] == pytest.approx(LUNG_HU, abs=5)
    assert found["tissue_hu"] == pytest.approx(TISSUE_HU, abs=5)
    assert found["tissue_low_hu"] == pytest.approx(TISSUE_HU - 1.645 * 10, abs=5)


@pytest.mark.parametrize("sd", [5.0, 40.0])
def test_noise_is_the_standard_deviation_of_pixels_that_do_not_depend_on_each_other(sd):
    values = np.random.default_rng(0).normal(40, sd, (80, 80, 60)).astype(np.float32)
    assert profile_scan(Case("noise", values, Grid((80, 80, 60), np.eye(4))))["noise_hu"] == pytest.approx(sd, rel=0.03)


def test_structure_is_not_taken_for_noise():
    smooth = np.full((40, 30, 20), 40.0, dtype=np.float32)
    smooth[::8] = 300.0  # walls
    assert profile_scan(Case("walls", smooth, Grid((40, 30, 20), np.eye(4))))["noise_hu"] == 0.0


def test_a_crop_has_no_lungs_and_air_alone_no_tissue():
    found = profile_scan(crop(20.0))
    assert found["lungs"] == 0.0
    assert "lung_hu" not in found
    assert {"pixel_mm", "tissue_hu", "noise_hu"} <= set(found)
    values = np.random.default_rng(0).normal(-950.0, 20.0, (20, 20, 20))
    air = profile_scan(Case("air", values.astype(np.float32), Grid((20, 20, 20), np.eye(4))))
    assert set(air) == {"pixel_mm", "slice_mm", "width_mm", "depth_mm", "height_mm", "lungs"}


def test_how_the_axes_lie_changes_nothing():
    case = lungs()
    turned = case.image.transpose(2, 0, 1)[:, ::-1]
    affine = case.grid.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] = affine[:3, 1] * (turned.shape[1] - 1)
    affine[:3, 1] *= -1
    again = profile_scan(Case("turned", turned, Grid(turned.shape, affine)))
    assert again == pytest.approx(profile_scan(case), abs=1.0)


@pytest.mark.parametrize(
    ("kind", "quantity", "more"),
    [("low_dose", "noise_hu", True), ("soft_kernel", "noise_hu", False), ("offset", "tissue_hu", None),
     ("thick_slices", "noise_hu", False), ("contrast", "tissue_high_hu", True)],
)  # fmt: skip
def test_what_a_scanner_does_is_seen_where_it_should_be(kind, quantity, more):
    case = lungs(spacing=(2.0, 2.0, 2.0))
    before, after = profile_scan(case)[quantity], profile_scan(corrupt(case, kind, 5, seed=0))[quantity]
    assert after != before
    assert more is None or (after > before) == more


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("patient", "pixel_mm", "slice_mm"),
    [("lidc_idri/LIDC-IDRI-0001", 0.703, 2.5), ("nsclc_radiomics/LUNG1-001", 0.977, 3.0)],
)
def test_a_real_chest_measures_what_chests_do_and_a_low_dose_is_seen(realdata, patient, pixel_mm, slice_mm):
    case = find_scans(realdata / patient)[0].read_case()
    found = profile_scan(case)
    assert (found["pixel_mm"], found["slice_mm"]) == pytest.approx((pixel_mm, slice_mm), abs=2e-3)
    assert found["lungs"] == 1.0
    assert -1000 < found["lung_low_hu"] < -900 < found["lung_hu"] < -800 < found["lung_high_hu"] < -500
    assert -60 < found["tissue_hu"] < 60
    assert 5 < found["noise_hu"] < 30
    slab = case.image[:, :, 60:72]
    few = Case("slab", slab, Grid(slab.shape, case.grid.affine))
    assert profile_scan(corrupt(few, "low_dose", 3, seed=0))["noise_hu"] > 1.2 * profile_scan(few)["noise_hu"]
