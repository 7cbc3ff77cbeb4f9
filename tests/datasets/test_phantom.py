"""The phantom is the same at every call, looks like a chest CT in numbers, and its truth agrees with its masks."""

from itertools import product

import numpy as np
import pytest

from segpipe.__main__ import main
from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import read_manifest
from segpipe.datasets.phantom import ensure_phantom, make_phantom, phantom_id, write_case
from segpipe.datasets.phantom.generator import generate_case
from segpipe.datasets.phantom.population import PhantomKind
from segpipe.datasets.splits import assign_roles
from segpipe.errors import ConfigError
from segpipe.geometry import to_voxel
from segpipe.lesions import label_lesions, measure_lesions


@pytest.fixture(scope="module")
def cases():
    """Six cases; number 5 is one of those without nodules."""
    return [generate_case(0, number) for number in range(6)]


@pytest.mark.slow
def test_a_case_is_a_function_of_seed_and_number(cases):
    again = generate_case(0, 2)
    assert np.array_equal(again.image, cases[2].image)
    assert np.array_equal(again.mask, cases[2].mask)
    assert again.nodules == cases[2].nodules
    other = generate_case(1, 2)
    assert other.nodules != cases[2].nodules


@pytest.mark.slow
def test_densities_are_those_of_a_chest_ct(cases):
    assert cases
    for case in cases:
        assert case.image.dtype == np.int16
        assert case.image.min() >= -1024
        share = {name: np.mean((case.image > low) & (case.image < high)) for name, low, high in _TISSUES}
        assert 0.2 < share["air around and in the airways"] < 0.55
        assert 0.08 < share["lung"] < 0.35
        assert 0.05 < share["fat"] < 0.3
        assert 0.1 < share["muscle, blood and organs"] < 0.5
        assert 0.003 < share["bone"] < 0.05


_TISSUES = [
    ("air around and in the airways", -1100, -950),
    ("lung", -930, -700),
    ("fat", -150, -50),
    ("muscle, blood and organs", 0, 120),
    ("bone", 300, 3000),
]


@pytest.mark.slow
def test_grids_are_anisotropic_oblique_and_differ(cases):
    spacings = {tuple(np.round(case.grid.spacing_mm, 3)) for case in cases}
    assert len(spacings) == len(cases)
    assert len({case.grid.orientation for case in cases}) > 1
    for case in cases:
        assert 0.9 <= min(case.grid.spacing_mm) <= 1.4
        assert 1.5 <= round(max(case.grid.spacing_mm), 6) <= 3.0
        directions = case.grid.affine[:3, :3] / case.grid.spacing_mm
        assert 0.02 < np.abs(directions - np.round(directions)).max() < 0.3
        np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-9)


@pytest.mark.slow
def test_each_nodule_is_one_lesion_of_the_listed_size_at_the_listed_place(cases):
    assert any(case.nodules for case in cases)
    for case in cases:
        components, count = label_lesions(case.mask)
        assert count == len(case.nodules)
        lesions = measure_lesions(components, case.grid)
        for nodule in case.nodules:
            distances = [np.linalg.norm(np.subtract(lesion.centre_mm, nodule["centre_mm"])) for lesion in lesions]
            nearest = int(np.argmin(distances))
            assert distances[nearest] < 0.35 * nodule["diameter_mm"]
            ball = np.pi / 6 * nodule["diameter_mm"] ** 3
            lowest = 0.3 if nodule["place"] == "juxta-pleural" else 0.6  # the pleura cuts it
            assert lowest * ball < lesions[nearest].volume_mm3 < 1.45 * ball


@pytest.mark.slow
def test_nodules_are_distinguished_from_lung_by_density(cases):
    found = {"solid": [], "part-solid": [], "ground-glass": []}
    for case in cases:
        components, _ = label_lesions(case.mask)
        for nodule in case.nodules:
            index = np.rint(to_voxel(case.grid.affine, nodule["centre_mm"])).astype(int)
            number = components[tuple(index)]
            if nodule["diameter_mm"] > 7 and number:
                found[nodule["texture"]].append(np.median(case.image[components == number]))
    assert found["solid"]
    assert min(found["solid"]) > -350
    assert all(-720 < hu < 50 for hu in found["part-solid"] + found["ground-glass"])


@pytest.mark.slow
def test_some_scans_have_no_nodule(cases):
    assert [len(case.nodules) > 0 for case in cases] == [True] * 5 + [False]
    assert not cases[5].mask.any()


@pytest.mark.slow
def test_a_made_case_loads_with_its_truth(tmp_path, cases):
    entry = write_case(0, 3, tmp_path)
    case = load_case(entry, {1: "nodule"})
    assert np.array_equal(case.image, cases[3].image)
    assert np.array_equal(case.mask, cases[3].mask)
    assert case.grid.matches(cases[3].grid)
    assert entry.split == "test"
    assert entry.extra["lesions"] == len(cases[3].nodules) == len(entry.extra["nodules"])


@pytest.mark.slow
def test_a_case_with_ground_glass_distinguishes_it_from_what_is_solid():
    case = generate_case(0, 2, PhantomKind(part_solid=True))
    textures = {nodule["texture"] for nodule in case.nodules}
    assert textures & {"part-solid", "ground-glass"}
    solid, glass = case.image[case.mask == 1], case.image[case.mask == 2]
    assert solid.mean() > -250 > glass.mean()
    assert set(np.unique(case.mask)) == {0, 1, 2}


@pytest.mark.slow
def test_small_nodules_are_lesions_of_their_size_too():
    case = generate_case(0, 3, PhantomKind(sizes="lidc"))
    components, count = label_lesions(case.mask)
    assert count == len(case.nodules) == 4
    assert max(nodule["diameter_mm"] for nodule in case.nodules) < 8
    drawn = sum(np.pi / 6 * nodule["diameter_mm"] ** 3 for nodule in case.nodules)
    assert sum(lesion.volume_mm3 for lesion in measure_lesions(components, case.grid)) == pytest.approx(drawn, rel=0.15)


@pytest.mark.slow
def test_distractors_are_in_the_lungs_and_change_no_nodule(cases):
    plain, other = cases[2], generate_case(0, 2, PhantomKind(distractors=True))
    assert np.array_equal(other.mask, plain.mask)
    assert other.nodules == plain.nodules
    change = other.image.astype(int) - plain.image
    assert change.min() >= -1  # rounded
    assert np.abs(change[plain.mask > 0]).max() <= 2
    changed = change > 40
    assert 500 < changed.sum() < 0.01 * changed.size
    assert plain.image[changed].mean() < -600  # it was lung
    kinds = {distractor["kind"] for distractor in other.distractors}
    assert kinds >= {"blunt vessel", "scar", "mucus", "calcified granuloma"}
    for distractor in other.distractors:
        centre = np.array(distractor["centre_mm"])
        distances = [np.linalg.norm(centre - n["centre_mm"]) - n["diameter_mm"] / 2 for n in plain.nodules]
        assert min(distances) > 4


def test_kinds_of_phantoms_have_folders_of_their_own(tmp_path, monkeypatch):
    _pretend(monkeypatch)
    kinds = [PhantomKind(*words) for words in product((False, True), ("large", "lidc"), (False, True))]
    made = [ensure_phantom(tmp_path, cases=1, seed=0, kind=kind).entries[0] for kind in kinds]
    names = {entry.image.parent.parent.name for entry in made}
    assert len(names) == 8
    assert {"phantom-4-0", "phantom-4-0-parts", "phantom-4-0-lidc-distractors"} < names


def test_an_unknown_population_is_refused(tmp_path, capsys):
    assert main(["ingest", "--source", "phantom", "--sizes", "huge", "--output", str(tmp_path)]) == 2
    assert "argument --sizes: must be large or lidc, found huge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ([], PhantomKind(False, "lidc", True)),
        (["--part-solid", "--sizes", "large"], PhantomKind(True, "large", True)),
        (["--no-distractors"], PhantomKind(False, "lidc", False)),
    ],
)
def test_ingest_makes_the_kind_of_phantom_that_it_is_asked_for(words, kind, tmp_path, monkeypatch):
    asked = []

    def generate(seed, number, kind):
        asked.append(kind)
        return generate_small_case(seed, number, kind)

    monkeypatch.setattr("segpipe.datasets.phantom.generator.generate_case", generate)
    source = ["ingest", "--source", "phantom", "--cases", "1", "--workers", "0", "--output", str(tmp_path)]
    assert main([*source, *words]) == 0
    assert asked == [kind]
    assert len(read_manifest(tmp_path).labels) == 1 + kind.part_solid


def test_the_parts_have_names_and_a_cache_of_their_own(tmp_path, monkeypatch):
    _pretend(monkeypatch)
    whole, parts = (
        ensure_phantom(tmp_path, cases=1, seed=0, kind=PhantomKind(part_solid=parts)) for parts in (False, True)
    )
    assert parts.labels == {1: "solid", 2: "ground_glass"}
    assert whole.entries[0].image.parent.parent != parts.entries[0].image.parent.parent


def _pretend(monkeypatch):
    """Replaces the generator by one that costs nothing, where only the bookkeeping is tested."""
    small = generate_small_case
    monkeypatch.setattr("segpipe.datasets.phantom.generator.generate_case", small)


def generate_small_case(seed, number, kind):
    from segpipe.datasets.phantom.generator import PhantomCase
    from segpipe.geometry import Grid

    image = np.random.default_rng([seed, number]).integers(-1000, 100, (4, 5, 6)).astype(np.int16)
    mask = (image > 90).astype(np.uint8)
    return PhantomCase(image, mask, Grid((4, 5, 6), np.eye(4)), [{"diameter_mm": 5.0}])


def test_more_cases_keep_the_old_ones_and_their_roles(tmp_path, monkeypatch):
    _pretend(monkeypatch)
    few, _ = make_phantom(tmp_path, cases=4, seed=0, workers=0)
    many, made = make_phantom(tmp_path, cases=40, seed=0, workers=0)
    assert many.entries[:4] == few.entries
    assert made.new == 36
    assert [entry.split for entry in few.entries] == ["train", "train", "val", "test"]
    assert [[entry.split for entry in many.entries].count(role) for role in ("train", "val", "test")] == [32, 4, 4]
    assert assign_roles(many).entries == many.entries
    assert (many.name, many.source, many.labels) == ("phantom", "phantom", {1: "nodule"})
    assert many.entries[39].id == phantom_id(39) == "phantom_0040"
    assert len({entry.patient for entry in many.entries}) == 40


def test_seeds_do_not_share_a_cache(tmp_path, monkeypatch):
    _pretend(monkeypatch)
    monkeypatch.setattr("segpipe.system.processes.parallel_map.available_cores", lambda: 1)
    one, two = (ensure_phantom(tmp_path, cases=2, seed=seed) for seed in (0, 1))
    assert not {entry.image for entry in one.entries} & {entry.image for entry in two.entries}
    assert ensure_phantom(tmp_path, cases=2, seed=0) == one


@pytest.mark.parametrize(("cases", "seed"), [(0, 0), (-3, 0), (2, -1)])
def test_impossible_phantoms_are_reported(tmp_path, cases, seed):
    with pytest.raises(ConfigError, match="at least one case and a seed from 0 on"):
        ensure_phantom(tmp_path, cases=cases, seed=seed)
    assert list(tmp_path.iterdir()) == []
