"""A nodule keeps its size and density wherever it goes, nobody sees the seam, and its noise is the host's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import ndimage

from segpipe.case import Case
from segpipe.datasets.implanting.blending import GONE_MM, Pose, blend
from segpipe.datasets.implanting.donor import cut_donor
from segpipe.datasets.implanting.noise import Noise, make_noise
from segpipe.geometry import Grid, to_voxel, to_world
from tests.samples.synthetic_lungs import LUNG_HU, TISSUE_HU, crop

SPACINGS = st.tuples(st.floats(0.5, 1.0), st.floats(0.5, 1.0), st.floats(0.6, 3.0))


def donor_of(case):
    return cut_donor(case, np.random.default_rng(0))


def uniform(*, hu=LUNG_HU, spacing=(0.8, 0.8, 2.0), size_mm=64.0, sd=0.0, correlation=0.4, seed=1):
    """A block of lung, large enough for a nodule of 24 mm."""
    shape = tuple(int(np.ceil(size_mm / mm)) for mm in spacing)
    image = np.full(shape, hu, dtype=np.float32)
    image += sd * make_noise(shape, correlation, vertical=2, rng=np.random.default_rng(seed))
    image[0, 0, 0] += 1  # a case must have contrast
    return Case("block", image, Grid(shape, np.diag([*spacing, 1.0])))


def put(host, donor, *, turn=None, noise=None, seed=0):
    """Puts a nodule into the middle of a block; returns HU and mask of the whole block, and where it went."""
    middle = to_world(host.grid.affine, (np.array(host.grid.shape) - 1) // 2)
    pose = Pose(middle, np.eye(3) if turn is None else turn)
    made = blend(host, donor, pose, noise=noise, rng=np.random.default_rng(seed))
    hu, mask = host.image.astype(np.float32).copy(), np.zeros(host.grid.shape, dtype=bool)
    hu[made.box], mask[made.box] = made.hu, made.inside
    return hu, mask, pose


def turned(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


@settings(max_examples=25, deadline=None)
@given(st.floats(4.0, 20.0), SPACINGS, SPACINGS, st.floats(0, 360))
def test_a_nodule_keeps_its_volume_and_shape(diameter_mm, own, others, degrees):
    case = crop(diameter_mm, spacing=own, sd=0)
    donor, host = donor_of(case), uniform(spacing=others)
    _, mask, pose = put(host, donor, turn=turned(degrees))
    voxel = host.grid.voxel_volume_mm3
    assert abs(mask.sum() * voxel - donor.volume_mm3) <= max(voxel / 2 + 1e-6, voxel - donor.volume_mm3)
    positions = pose.to_host(
        to_world(donor.grid.affine, np.moveaxis(np.indices(donor.inside.shape), 0, -1)) - donor.centre_mm
    )
    back = ndimage.map_coordinates(mask, np.moveaxis(to_voxel(host.grid.affine, positions), -1, 0), order=0)
    dice = 2 * np.sum(back & donor.inside) / (back.sum() + donor.inside.sum())
    assert dice > 1 - 1.5 * max(*own, *others) / diameter_mm


def test_in_lung_like_its_own_on_its_own_grid_a_nodule_looks_as_it_did():
    case = crop(9.0, spacing=(0.8, 0.8, 2.0), sd=0)
    donor = donor_of(case)
    grid = Grid(case.grid.shape, case.grid.affine)
    host = Case("same", np.where(np.indices(grid.shape).sum(axis=0) == 0, -859.0, LUNG_HU).astype(np.float32), grid)
    made = blend(host, donor, Pose(donor.centre_mm, np.eye(3)), noise=None, rng=np.random.default_rng(0))
    near = donor.distance_mm[made.box] < 0.8
    assert_allclose(made.hu[near], case.image[made.box][near], atol=0.5)
    assert (made.inside == donor.inside[made.box]).all()


def test_turned_on_another_grid_of_the_same_slices_it_stays_as_sharp():
    case = crop(6.0, spacing=(0.7, 0.7, 2.5), sd=0)
    hu, mask, _ = put(uniform(spacing=(0.75, 0.75, 2.5)), donor_of(case), turn=turned(33))
    expected, found = np.percentile(case.image[case.mask > 0], [50, 90]), np.percentile(hu[mask], [50, 90])
    assert_allclose(found, expected, atol=30)  # of 900 HU


def test_ground_glass_stays_ground_glass_in_denser_lung():
    donor = donor_of(crop(12.0, hu=-500.0, sd=0))
    hu, mask, _ = put(uniform(hu=-780.0), donor)
    core = ndimage.binary_erosion(mask, iterations=2)
    # its share of tissue is (-500 + 860) / (60 + 860) = 0.3913 of 60 HU, the rest is the host's lung
    assert_allclose(hu[core], 0.3913 * 60 + 0.6087 * -780, atol=2)


def test_a_vessel_of_the_host_shows_through_ground_glass_and_gets_no_denser():
    host = uniform()
    host.image[:, 39:42, 15:17] = 50.0
    hu, mask, _ = put(host, donor_of(crop(12.0, hu=-500.0, sd=0)))
    vessel = mask & (host.image == 50.0)
    assert vessel.sum() > 10
    assert hu[vessel].min() >= 50
    assert hu[vessel].max() <= 60
    assert np.median(hu[mask & ~vessel]) < -450


def test_away_from_the_nodule_nothing_changes():
    host = uniform(sd=20.0)
    hu, mask, _ = put(host, donor_of(crop(8.0, near="vessel")), noise=Noise(20.0, 0.4))
    far = ndimage.distance_transform_edt(~mask, sampling=host.grid.spacing_mm) > GONE_MM + 2.5
    assert (hu[far] == host.image[far]).all()


@pytest.mark.parametrize(("hu", "own"), [(TISSUE_HU, 3.0), (TISSUE_HU, 30.0), (-550.0, 3.0)])
def test_a_nodule_is_as_noisy_as_the_host(hu, own):
    assert noise_in_nodule(hu, own) == pytest.approx(30, rel=0.12)


def test_through_ground_glass_the_noise_of_the_host_is_seen_next_to_its_own():
    # its share of tissue is (-550 + 860) / (60 + 860) = 0.337, so 0.663 · 30 are the host's and 30 its own
    assert noise_in_nodule(-550.0, 30.0) == pytest.approx(np.hypot(0.663 * 30, 30), rel=0.1)


def test_noise_of_a_nodule_is_never_taken_away():
    assert noise_in_nodule(TISSUE_HU, 60.0) == pytest.approx(60, rel=0.1)


def noise_in_nodule(hu, own):
    """Standard deviation inside a nodule with noise of `own` in a host with noise of 30 HU."""
    host = uniform(spacing=(0.7, 0.7, 1.25), sd=30.0)
    image, mask, _ = put(host, donor_of(crop(20.0, hu=hu, sd=own, seed=3)), noise=Noise(30.0, 0.4))
    return np.std(image[ndimage.distance_transform_edt(mask, sampling=host.grid.spacing_mm) > 2])


def test_around_a_nodule_the_noise_of_two_scans_does_not_add_up():
    host = uniform(spacing=(0.7, 0.7, 1.25), sd=30.0)
    image, mask, _ = put(host, donor_of(crop(20.0, sd=30.0, seed=3)), noise=Noise(30.0, 0.4))
    away = ndimage.distance_transform_edt(~mask, sampling=host.grid.spacing_mm)
    halo = (away > 2) & (away < GONE_MM)
    assert np.std(image[halo]) == pytest.approx(30, rel=0.1)


@pytest.mark.parametrize("near", [None, "vessel"])
@pytest.mark.parametrize("denser", [-60.0, 60.0])
def test_there_is_no_step_at_the_seam(near, denser):
    host = uniform(hu=LUNG_HU + denser, sd=20.0)
    image, mask, _ = put(host, donor_of(crop(10.0, near=near)), noise=Noise(20.0, 0.4), turn=turned(20))
    away = ndimage.distance_transform_edt(~mask, sampling=host.grid.spacing_mm)
    steps = np.abs(np.diff(image, axis=0))
    seam = ((away > 2.5) & (away < GONE_MM + 1.5))[1:]
    rest = (away > 8)[1:]
    assert np.percentile(steps[seam], 90) < 1.25 * np.percentile(steps[rest], 90)


def test_a_nodule_that_would_not_lie_in_the_scan_as_a_whole_is_refused():
    host, donor = uniform(), donor_of(crop(10.0))
    pose = Pose(np.array([4.0, 30.0, 30.0]), np.eye(3))
    assert blend(host, donor, pose, noise=None, rng=np.random.default_rng(0)) is None


def test_a_thicker_slice_blurs_a_small_nodule():
    donor = donor_of(crop(4.0, spacing=(0.7, 0.7, 0.7), sd=0))
    thin, thick = (put(uniform(spacing=(0.7, 0.7, mm)), donor)[0].max() for mm in (0.7, 5.0))
    assert thin > -50
    assert thick < thin - 150
