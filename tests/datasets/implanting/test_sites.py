"""Nodules go where such nodules grow: in the lungs, at walls if they grew at one, and never onto each other."""

from dataclasses import replace

import numpy as np
import pytest

from segpipe.datasets.implanting.donor import DENSE_HU, cut_donor
from segpipe.datasets.implanting.sites import APART_MM, Ball, LungSites
from segpipe.errors import ImageError
from segpipe.geometry import to_voxel
from tests.samples.synthetic_lungs import crop, lungs


@pytest.fixture(scope="module")
def sites():
    return LungSites.of(lungs())


def poses(sites, donor, count=12):
    return [sites.find(donor, [], np.random.default_rng(seed)) for seed in range(count)]


def donor_of(**options):
    return cut_donor(crop(**options), np.random.default_rng(0))


def hu_at(sites, points_mm):
    return sites.case.image[tuple(np.rint(to_voxel(sites.case.grid.affine, points_mm)).astype(int).T)]


def wall_distance(centre_mm):
    """How far the wall of the ellipsoids that `lungs` has lies from a point, roughly, in mm."""
    x, y, z = centre_mm
    level = min(np.sqrt(((x - c) / 42) ** 2 + ((y - 90) / 62) ** 2 + ((z - 78) / 70) ** 2) for c in (70, 170))
    return (1 - level) * 42


def test_an_isolated_nodule_lies_free_in_the_lung(sites):
    donor = donor_of(diameter_mm=8.0)
    found = poses(sites, donor)
    assert len(found) == 12
    for pose in found:
        assert wall_distance(pose.centre_mm) > 6
        assert (hu_at(sites, pose.to_host(donor.core_mm)) < DENSE_HU).mean() > 0.8
        assert (hu_at(sites, pose.to_host(donor.shell.points_mm)) > DENSE_HU).mean() < 0.08


def test_a_nodule_of_the_wall_lies_at_a_wall_on_the_same_side(sites):
    donor = donor_of(diameter_mm=10.0, near="wall")
    found = [pose for pose in poses(sites, donor) if pose]
    assert len(found) > 6
    for pose in found:
        ahead, behind = (pose.to_host(side * donor.wall_mm[None] * 1.6) for side in (1, -1))
        assert hu_at(sites, ahead)[0] > DENSE_HU
        assert hu_at(sites, behind)[0] < DENSE_HU


def test_a_nodule_of_a_vessel_lies_at_a_vessel(sites):
    donor = donor_of(diameter_mm=10.0, near="vessel")
    assert donor.place == "juxta-vascular"
    found = [pose for pose in poses(sites, donor) if pose]
    assert len(found) > 6
    for pose in found:
        assert (hu_at(sites, pose.to_host(donor.shell.points_mm)) > DENSE_HU).any()


def test_turns_keep_slices_and_sizes_and_differ(sites):
    turns = [pose.turn for pose in poses(sites, donor_of(diameter_mm=6.0))]
    assert len(turns) == 12
    for turn in turns:
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert abs(turn[2, 2]) == 1
    assert len({tuple(turn.ravel()) for turn in turns}) == len(turns)
    assert {np.sign(turn[2, 2]) for turn in turns} == {-1, 1}


def test_taken_places_are_avoided_and_a_full_lung_has_none(sites):
    donor, taken = donor_of(diameter_mm=6.0), []
    rng = np.random.default_rng(0)
    for _ in range(12):
        pose = sites.find(donor, taken, rng)
        for ball in taken:
            assert np.linalg.norm(ball.centre_mm - pose.centre_mm) >= ball.radius_mm + donor.reach_mm + APART_MM
        taken.append(Ball(pose.centre_mm, donor.reach_mm))
    whole = [Ball(np.array([120.0, 90.0, 78.0]), 150.0)]
    assert sites.find(donor, whole, rng) is None


def test_an_airway_is_no_place(sites):
    donor = donor_of(diameter_mm=6.0)
    assert sites.find(donor, [], np.random.default_rng(0))
    hu = sites.case.image.copy()
    hu[hu < -700] -= 130  # of -990 HU, like the air in a windpipe
    case = replace(sites.case, image=hu)
    assert replace(sites, case=case).find(donor, [], np.random.default_rng(0)) is None


def test_a_host_without_lungs_is_refused():
    with pytest.raises(ImageError, match="a host must show the lungs") as caught:
        LungSites.of(crop())
    assert caught.value.facts == {"case": "crop_0"}
