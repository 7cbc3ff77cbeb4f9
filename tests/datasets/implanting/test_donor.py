"""A nodule knows what it grew next to."""

import numpy as np
import pytest

from segpipe.case import Case
from segpipe.datasets.implanting.donor import cut_donor
from segpipe.errors import DatasetError
from segpipe.geometry import Grid
from tests.samples.synthetic_lungs import crop, lungs


def cut(case, seed=0):
    return cut_donor(case, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("near", "place"), [(None, "isolated"), ("vessel", "juxta-vascular"), ("wall", "juxta-pleural")]
)
@pytest.mark.parametrize("diameter_mm", [6.0, 14.0])
def test_a_nodule_lies_next_to_what_touches_it(near, place, diameter_mm):
    donor = cut(crop(diameter_mm, near=near))
    assert donor.place == place
    assert donor.background_hu == pytest.approx(-860, abs=5)
    assert donor.diameter_mm == pytest.approx(diameter_mm, rel=0.06)
    assert donor.half_extent_mm == pytest.approx([diameter_mm / 2] * 3, abs=1.25)


def test_a_wall_has_a_direction_and_a_distance():
    x, y, z = cut(crop(10.0, near="wall")).wall_mm
    assert 4 < x < 8
    assert abs(y) < 2
    assert abs(z) < 2
    assert cut(crop(10.0, near="vessel")).wall_mm is None


def test_of_a_whole_scan_one_nodule_is_cut_out_with_its_surroundings():
    case = lungs(sd=5.0, vessels=False)
    mask = np.zeros(case.grid.shape, dtype=np.uint8)
    for place in ((28, 36, 20), (68, 36, 30)):
        box = tuple(slice(index - 1, index + 2) for index in place)
        mask[box], case.image[box] = 1, 30
    scan = Case("scan", case.image, case.grid, mask)
    centres = {tuple(np.round(cut(scan, seed).centre_mm, 2)) for seed in range(8)}
    assert centres == {(70.0, 90.0, 60.0), (170.0, 90.0, 90.0)}  # (28 · 2.5, 36 · 2.5, 20 · 3), …
    assert cut(scan).inside.sum() == 27
    assert max(cut(scan).hu.shape) <= 16


def test_specks_of_a_mask_are_no_nodules():
    case = crop(8.0)
    case.mask[1, 1, 1] = case.mask[2, 30, 5] = 1
    assert {cut(case, seed).inside.sum() for seed in range(8)} == {case.mask.sum() - 2}
    alone = np.zeros_like(case.mask)
    alone[17, 17, 10] = 1
    assert cut(Case("one voxel", case.image, case.grid, alone)).inside.sum() == 1


def test_a_case_without_a_nodule_or_without_lung_is_refused():
    case = crop()
    for mask in (None, np.zeros(case.grid.shape, np.uint8)):
        with pytest.raises(DatasetError, match="must have a lesion"):
            cut(Case("bare", case.image, case.grid, mask))
    liver = Case("liver", np.arange(1000.0).reshape(10, 10, 10) / 50, Grid((10, 10, 10), np.eye(4)), None)
    liver = Case("liver", liver.image, liver.grid, (liver.image > 19).astype(np.uint8))
    with pytest.raises(DatasetError, match="must have lung tissue around it"):
        cut(liver)
