"""Where patches lie: in the scan, on lesions of all sizes, and as a function of (seed, index)."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segpipe.errors import DatasetError
from segpipe.preprocessing.sampling import HardPlace, PlaceSampler, Sampling, lesion_shares, spread
from tests.samples.prepared_cases import make_recipe, make_scan, prepare

PATCH = (16, 16, 8)
LESIONS = [
    [((5, 5, 5), 2), ((20, 20, 10), 6)],
    [((12, 9, 8), 10)],
    [],
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    scans = [make_scan(lesions=lesions, seed=number) for number, lesions in enumerate(LESIONS)]
    return prepare(tmp_path_factory.mktemp("sampling"), scans, make_recipe())


def make_sampler(cases, *, scope="scan", seed=0, **sampling):
    values = {"lesion_fraction": 1.0, "shift": 0.0, "size_balance": 0.0}
    return PlaceSampler(cases, make_recipe(scope=scope), Sampling(**{**values, **sampling}), seed)


def places(sampler, count=300, shape=PATCH):
    return [sampler.place(index, np.random.default_rng([sampler.seed, index]), shape) for index in range(count)]


def centre_voxel(place, shape=PATCH):
    return np.array(place.start) + np.array(shape) // 2


def test_every_lesion_equally_often_whatever_its_size_or_case(cases):
    hits = Counter()
    for place in places(make_sampler(cases), 300):
        centre = centre_voxel(place)
        if place.case == 1:
            hits["large"] += 1
        else:
            # the two lesions of case 0 lie on either side of voxel 12
            hits["small" if centre[0] < 12 else "middle"] += 1
    assert hits == {"small": 100, "middle": 100, "large": 100}


def test_a_lesion_voxel_lies_in_every_lesion_patch(cases):
    found = [cases[place.case].read(place.start, PATCH)[1].any() for place in places(make_sampler(cases, shift=0.5))]
    assert found == [True] * 300


def test_size_classes_equally_often(cases):
    # three lesions of 4 mm class and one above 20 mm: with full balance the large one is chosen half the time
    np.testing.assert_allclose(lesion_shares([4.0, 5.0, 5.9, 25.0], 1.0), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    np.testing.assert_allclose(lesion_shares([4.0, 5.0, 5.9, 25.0], 0.0), [0.25] * 4)
    # weights 4^-½ = ½ for each of four small ones, 1 for the large one
    np.testing.assert_allclose(lesion_shares([4.0, 4.0, 4.0, 4.0, 25.0], 0.5), [1 / 6] * 4 + [1 / 3])


@pytest.mark.parametrize(("diameter", "other", "same"), [(5.9, 6.0, False), (6.0, 9.9, True), (30.0, 80.0, True)])
def test_borders_of_size_classes(diameter, other, same):
    alone = lesion_shares([diameter, other, other], 1.0)[0]
    assert alone == pytest.approx(1 / 3 if same else 1 / 2)


def test_share_of_lesion_patches(cases):
    sampler = make_sampler(cases, lesion_fraction=0.25)
    one_voxel = (1, 1, 1)
    on_lesion = [cases[place.case].read(place.start, one_voxel)[1].any() for place in places(sampler, 1000, one_voxel)]
    # three standard deviations of a binomial, and body voxels that happen to be lesion (about 2 %)
    assert 0.21 < np.mean(on_lesion) < 0.32


def test_other_patches_visit_all_cases_alike(cases):
    counts = Counter(place.case for place in places(make_sampler(cases, lesion_fraction=0.0), 300))
    assert counts == {0: 100, 1: 100, 2: 100}


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 10**9), shape=st.tuples(*[st.integers(1, 60)] * 3), shift=st.floats(0, 0.5))
def test_patches_stay_in_the_scan_or_hold_it_in_the_middle(cases, index, shape, shift):
    sampler = make_sampler(cases, lesion_fraction=0.5, shift=shift)
    place = sampler.place(index, np.random.default_rng(index), shape)
    assert len(place.start) == 3
    for first, size, limit in zip(place.start, shape, cases[place.case].grid.shape, strict=True):
        if size <= limit:
            assert 0 <= first <= limit - size
        else:
            before, after = -first, first + size - limit
            assert 0 <= before - after <= 1


def test_a_voi_patch_has_the_crops_centre(cases):
    # crops of 40×36×24: (40-16)/2, (36-40)/2, (24-30)/2
    found = [place.start for place in places(make_sampler(cases, scope="voi"), 20, (16, 40, 30))]
    assert found == [(12, -2, -3)] * 20


def test_a_crop_with_fragments_counts_once(cases):
    counts = Counter(place.case for place in places(make_sampler(cases, scope="voi"), 300))
    assert counts == {0: 150, 1: 150}


def test_a_voi_patch_shifts_at_most_as_far_as_allowed(cases):
    starts = np.array([place.start for place in places(make_sampler(cases, scope="voi", shift=0.25), 500)])
    offsets = starts - (12, 10, 8)
    assert offsets.min(axis=0).tolist() == [-4, -4, -2]
    assert offsets.max(axis=0).tolist() == [4, 4, 2]


def test_places_are_a_function_of_seed_and_index(cases):
    one, same, other = (make_sampler(cases, lesion_fraction=0.5, shift=0.3, seed=seed) for seed in (1, 1, 2))
    assert places(one, 50) == places(same, 50)
    assert places(one, 50) != places(other, 50)


@given(seed=st.integers(0, 1000), turn=st.integers(0, 1000), count=st.integers(1, 200))
def test_spread_visits_every_part_once_in_a_turn(seed, turn, count):
    values = [spread(seed, turn * count + position, count) for position in range(count)]
    assert sorted(int(value * count) for value in values) == list(range(count))
    assert max(values) < 1.0


def test_needs_lesions(cases):
    with pytest.raises(DatasetError, match=r"training needs cases with lesions\n  found  1 cases with 0 lesions"):
        make_sampler(cases[2:])
    with pytest.raises(DatasetError, match="0 cases"):
        make_sampler([])
    assert make_sampler(cases[2:], lesion_fraction=0.0).place(0, np.random.default_rng(0), PATCH).case == 0


def test_classes_are_chosen_equally_often_and_sizes_within_them():
    shares = lesion_shares([4.0, 5.0, 25.0, 4.0, 25.0], 1.0, classes=[0, 0, 0, 1, 1])
    np.testing.assert_allclose(shares, [1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 4])


@pytest.mark.parametrize("regions", [None, {"whole": [1, 2], "core": [2]}])
def test_patches_see_each_class(tmp_path, regions):
    """Three lesions of class 1, one of class 2: each class is in the middle of half the patches."""
    image, mask = make_scan(lesions=[((5, 5, 5), 2), ((20, 20, 10), 6), ((30, 8, 8), 3)])
    mask[12:14, 12:14, 5:7] = 2
    recipe = make_recipe(labels={1: "nodule", 2: "core"}, regions=regions)
    cases = prepare(tmp_path, [(image, mask)], recipe, labels={1: "nodule", 2: "core"})
    sampler = PlaceSampler(cases, recipe, Sampling(lesion_fraction=1.0, shift=0.0, size_balance=0.0), 0)
    middles = [tuple(centre_voxel(place)) for place in places(sampler, 200)]
    values = [int(cases[0].read(tuple(map(int, middle)), (1, 1, 1))[1].item()) for middle in middles]
    # of regions the small one is a lesion of the outer region, too
    share_of_core = 0.5 if regions is None else 0.5 + 0.5 / 4
    assert values.count(2) / 200 == pytest.approx(share_of_core, abs=0.02)


def test_a_share_of_the_patches_lies_where_mistakes_were_made(cases):
    hard = [HardPlace(0, (30, 18, 12)), HardPlace(2, (10, 18, 12))]
    sampler = make_sampler(cases, lesion_fraction=0.5, hard_negatives=0.25)
    looking = replace(sampler, hard=hard)
    found = Counter((place.case, tuple(centre_voxel(place))) for place in places(looking, 1000))
    counts = [found[place.case, place.voxel] for place in hard]
    assert 200 < sum(counts) < 300
    assert min(counts) > 80  # each of them in its turn
    pairs = zip(places(sampler, 1000), places(looking, 1000), strict=True)
    changed = sum(one != other for one, other in pairs)
    assert changed <= sum(counts)  # all other patches are where they were


def test_before_any_mistake_is_known_patches_lie_where_they_did(cases):
    plain, waiting = (make_sampler(cases, lesion_fraction=0.5, hard_negatives=share) for share in (0.0, 0.5))
    assert places(plain) == places(waiting)


def test_shares_are_of_one_whole():
    with pytest.raises(ValueError, match=r"shares of one whole, found 0\.7 \+ 0\.4"):
        Sampling(lesion_fraction=0.7, shift=0.0, hard_negatives=0.4)
