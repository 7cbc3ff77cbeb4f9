"""The cache: equal to the recipe's steps, complete, shared, and whole after any interruption."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from segpipe.datasets.loading import load_case
from segpipe.datasets.manifest import Entry
from segpipe.errors import DatasetError, ImageError, OutputError, SegpipeError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.preprocessing.cache.build import build_cache, find_missing
from segpipe.preprocessing.resampling import plan_preparation, resample_to_recipe
from segpipe.preprocessing.scan_digest import scan_digest
from tests.samples.prepared_cases import LABELS, die, load_entry, make_recipe, make_scan, prepare, save_entry
from tests.support.leftovers import unfinished


def build(entries, recipe, folder, *, load=load_entry, labels=LABELS, workers=0):
    return build_cache(entries, recipe, labels, folder=folder, load=load, workers=workers, progress=False)


def whole(case):
    return case.read((0, 0, 0), case.grid.shape)


def test_holds_the_recipes_steps_rounded_to_hu(tmp_path):
    recipe = make_recipe(spacing_mm=(1.5, 0.8, 2.0))
    affine = np.diag([-1.1, 0.9, 2.5, 1.0])
    image, mask = make_scan((20, 18, 9), [((6, 6, 3), 4)])
    (case,) = build([save_entry(tmp_path, "a", image, mask, affine)], recipe, tmp_path / "cache")
    preparation = plan_preparation(Grid(image.shape, affine), recipe)
    stored, stored_mask = whole(case)
    expected = resample_to_recipe(image, preparation).clamp(-1000, 400).round().numpy()
    np.testing.assert_array_equal(stored, expected)
    assert stored.dtype == np.int16
    share = resample_to_recipe(mask, preparation).numpy()
    np.testing.assert_array_equal(stored_mask, share >= 0.5)
    assert stored_mask.dtype == np.uint8
    np.testing.assert_allclose(case.grid.affine, preparation.grid.affine)


def test_says_which_cases_are_missing(tmp_path):
    recipe, cache = make_recipe(), tmp_path / "cache"
    entries = [
        save_entry(tmp_path, name, *make_scan(lesions=[((8, 8, 8), size)])) for name, size in (("a", 3), ("b", 4))
    ]
    assert find_missing(entries, recipe, LABELS, folder=cache) == entries
    build(entries[:1], recipe, cache)
    assert find_missing(entries, recipe, LABELS, folder=cache) == entries[1:]
    assert find_missing(entries, make_recipe(spacing_mm=(3.0, 3.0, 3.0)), LABELS, folder=cache) == entries


def test_clips_to_the_window(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    image[0, 0, 0], image[1, 1, 1] = -3000, 3000
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe(window_hu=(-900.0, 300.0)))
    stored, _ = whole(case)
    assert (stored.min(), stored.max()) == (-900, 300)


def test_a_patch_beyond_the_border_repeats_it(tmp_path):
    image, mask = make_scan(lesions=[((0, 30, 20), 4)])
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe())
    patch, label = case.read((-3, 30, 18), (10, 10, 12))
    window = np.pad(np.clip(image, -1000, 400)[0:7, 30:36, 18:24], [(3, 0), (0, 4), (0, 6)], mode="edge")
    np.testing.assert_array_equal(patch, window)
    np.testing.assert_array_equal(label, np.pad(mask[0:7, 30:36, 18:24], [(3, 0), (0, 4), (0, 6)], mode="edge"))


def test_a_patch_far_outside_repeats_the_nearest_voxels(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe())
    patch, _ = case.read((60, 0, -30), (4, 36, 5))
    np.testing.assert_array_equal(
        patch, np.broadcast_to(np.clip(image[39, :, 0], -1000, 400)[None, :, None], (4, 36, 5))
    )


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (7.0, 5.0, 9.0), (1.0, 1.0, 20.0)])
def test_no_lesion_vanishes_on_a_coarse_grid(tmp_path, spacing):
    firsts = [(5, 5, 2), (22, 5, 9), (5, 25, 15), (33, 30, 21)]
    image, mask = make_scan(lesions=[(first, 1) for first in firsts])
    recipe = make_recipe(spacing_mm=spacing)
    (case,) = prepare(tmp_path, [(image, mask)], recipe)
    _, stored = whole(case)
    assert len(case.lesion_diameters_mm) == len(firsts)
    for first in firsts:
        nearest = np.clip(np.round(np.array(first) / spacing), 0, np.array(stored.shape) - 1).astype(int)
        around = tuple(slice(max(n - 1, 0), n + 2) for n in nearest)
        assert stored[around].any()


def test_a_vanishing_lesion_keeps_its_strongest_voxel_only(tmp_path):
    # voxel 9 at 1 mm lies between recipe voxels 2 (8 mm) and 3 (12 mm): their shares are 0 and 0 along x; along y and z
    # voxel 8 is recipe voxel 2 itself; so the nearest, round(9 / 4) = 2, is kept.
    image, mask = make_scan(lesions=[((9, 8, 8), 1)])
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe(spacing_mm=(4.0, 4.0, 4.0)))
    assert np.argwhere(whole(case)[1]).tolist() == [[2, 2, 2]]


def test_a_large_neighbour_does_not_hide_that_a_small_lesion_vanished(tmp_path):
    image, mask = make_scan(lesions=[((8, 8, 8), 8), ((18, 10, 10), 1)])
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe(spacing_mm=(4.0, 4.0, 4.0)))
    # 18 mm is between voxels 4 (16 mm) and 5 (20 mm), 10 mm between 2 and 3; half to even gives 4, 2, 2
    assert whole(case)[1][4, 2, 2] == 1


def test_measures_lesions_on_the_recipes_grid(tmp_path):
    image, mask = make_scan(lesions=[((5, 5, 5), 2), ((20, 20, 10), 6)])
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe())
    # diagonals of 5³ and 1³ voxel steps, plus one voxel
    np.testing.assert_allclose(case.lesion_diameters_mm, [5 * 3**0.5 + 1, 3**0.5 + 1])


def test_picks_voxels_of_one_lesion_and_of_the_body(tmp_path):
    image, mask = make_scan(lesions=[((5, 5, 5), 2), ((20, 20, 10), 6)])
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe())
    rng = np.random.default_rng(0)
    small = {tuple(case.pick_voxel(1, rng).tolist()) for _ in range(200)}
    assert small == {(x, y, z) for x in (5, 6) for y in (5, 6) for z in (5, 6)}
    large = np.array([case.pick_voxel(0, rng) for _ in range(50)])
    assert (large >= (20, 20, 10)).all()
    assert (large < (26, 26, 16)).all()
    body = np.array([case.pick_voxel(None, rng) for _ in range(300)])
    # found on a grid of 4 mm, so it may leave the block (voxels 4…35 and 4…31) by less than that
    assert (body >= 0).all()
    assert (body < case.grid.shape).all()
    assert ((body[:, :2] > 0) & (body[:, :2] < (40, 36))).all()
    assert np.ptp(body, axis=0).min() >= 20


def test_a_scan_without_tissue_is_sampled_everywhere(tmp_path):
    image = np.full((20, 20, 20), -1000, dtype=np.int16)
    image[3, 3, 3] = -900
    (case,) = prepare(tmp_path, [(image, np.zeros_like(image, dtype=np.uint8))], make_recipe())
    rng = np.random.default_rng(0)
    voxels = np.array([case.pick_voxel(None, rng) for _ in range(400)])
    assert case.lesion_diameters_mm == ()
    assert voxels.min() <= 1
    assert voxels.max() >= 18


def test_prepares_each_content_once(tmp_path):
    loads = []
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    recipe = make_recipe()

    def load(entry):
        loads.append(entry.id)
        return load_entry(entry)

    first = save_entry(tmp_path / "one", "a", image, mask)
    moved = save_entry(tmp_path / "two", "b", image, mask)
    build([first], recipe, tmp_path / "cache", load=load)
    (again,) = build([moved], recipe, tmp_path / "cache", load=load)
    assert loads == ["a"]
    assert again.id == "b"
    build([replace(moved, id="c")], replace(recipe, name="other"), tmp_path / "cache", load=load)
    assert loads == ["a"]
    build([moved], replace(recipe, patch=(8, 8, 8), scope="voi"), tmp_path / "cache", load=load)
    assert loads == ["a"]


def test_another_mask_label_or_recipe_is_another_case(tmp_path):
    loads = []
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])

    def load(entry):
        loads.append(entry.id)
        return load_entry(entry)

    entry = save_entry(tmp_path, "a", image, mask)
    build([entry], make_recipe(), tmp_path / "cache", load=load)
    build([entry], make_recipe(spacing_mm=(2.0, 1.0, 1.0)), tmp_path / "cache", load=load)
    build([entry], make_recipe(), tmp_path / "cache", load=load, labels={2: "nodule"})
    save_entry(tmp_path, "a", image, make_scan(lesions=[((10, 10, 10), 4)])[1])
    (changed,) = build([entry], make_recipe(), tmp_path / "cache", load=load)
    assert len(loads) == 4
    assert whole(changed)[1].sum() == 64


def test_keeps_only_the_recipes_label(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    mask[20:24, 20:24, 10:14] = 2
    entry = save_entry(tmp_path, "a", image, mask)
    (case,) = build([entry], make_recipe(label="tumour"), tmp_path / "c", labels={1: "lung", 2: "tumour"})
    assert whole(case)[1].sum() == 64
    assert set(np.unique(whole(case)[1])) == {0, 1}


def test_a_cache_that_cannot_be_written_is_one_message_for_all_cases(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    entries = [save_entry(tmp_path, name, image + number, mask) for number, name in enumerate(["a", "b"])]
    (tmp_path / "taken").touch()
    with pytest.raises(OutputError) as raised:
        build(entries, make_recipe(), tmp_path / "taken" / "cache")
    assert raised.value.message == "the cache of prepared cases cannot be written"
    assert raised.value.facts == {"folder": tmp_path / "taken" / "cache", "found": "Not a directory"}


def test_a_scan_without_a_mask_is_prepared_with_an_empty_one_and_found_again(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    outlined = save_entry(tmp_path, "scan", image, mask)
    entries = [outlined, replace(outlined, id="bare", mask=None)]
    with_mask, bare = build(entries, make_recipe(), tmp_path / "cache")
    assert np.array_equal(whole(bare)[0], whole(with_mask)[0])
    assert (whole(bare)[1].sum(), len(bare.lesion_diameters_mm)) == (0, 0)
    assert find_missing(entries, make_recipe(), LABELS, folder=tmp_path / "cache") == []


def test_reports_all_bad_cases_and_keeps_the_good_ones(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    good = [save_entry(tmp_path, name, image + number, mask) for number, name in enumerate(["g1", "g2"])]
    constant = save_entry(tmp_path, "flat", np.zeros_like(image), mask)
    missing = replace(good[0], id="gone", image=tmp_path / "nowhere.npy")
    with pytest.raises(SegpipeError) as raised:
        build([constant, good[0], missing, good[1]], make_recipe(), tmp_path / "cache")
    assert isinstance(raised.value, ImageError)
    text = str(raised.value)
    assert "cannot be prepared for training; the others are done and kept (2 mistakes)" in text
    assert "the image is constant" in text
    assert "a file of the data set cannot be read" in text
    for name in ("flat", "gone"):
        assert name in text

    def refuse(entry):
        raise AssertionError("a good case was prepared twice")

    assert [case.id for case in build(good, make_recipe(), tmp_path / "cache", load=refuse)] == ["g1", "g2"]


def test_a_full_disk_is_reported_with_the_case(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])

    def no_space(entry):
        raise OSError(28, "No space left on device")

    with pytest.raises(SegpipeError, match="No space left") as raised:
        build([save_entry(tmp_path, "a", image, mask)], make_recipe(), tmp_path / "cache", load=no_space)
    assert raised.value.facts["case"] == "a"


def test_a_disk_that_fills_while_writing_is_reported_and_freed(tmp_path, monkeypatch):
    def no_space(*args, **kwargs):
        raise RuntimeError("Error while creating the NDArray")  # what blosc2 says on a full disk

    monkeypatch.setattr("blosc2.asarray", no_space)
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    with pytest.raises(OutputError, match="a prepared case cannot be written") as raised:
        build([save_entry(tmp_path, "a", image, mask)], make_recipe(), tmp_path / "cache")
    assert raised.value.facts["case"] == "a"
    assert "free space" in raised.value.hint
    assert unfinished(tmp_path / "cache") == []


def test_rebuilds_a_case_that_is_not_whole(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    entry = save_entry(tmp_path, "a", image, mask)
    (case,) = build([entry], make_recipe(), tmp_path / "cache")
    expected = whole(case)
    file = case.folder / "image.b2nd"
    file.write_bytes(file.read_bytes()[:100])
    (again,) = build([entry], make_recipe(), tmp_path / "cache")
    np.testing.assert_array_equal(whole(again)[0], expected[0])


def test_a_case_that_an_earlier_version_prepared_gets_the_digest_of_its_scan(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    entry = save_entry(tmp_path, "a", image, mask)
    recipe = make_recipe(window_hu=(-100.0, 100.0))  # the digest is of what was read, not of what is kept
    (case,) = build([entry], recipe, tmp_path / "cache")
    scan = load_entry(entry)
    assert case.scan_digest == scan_digest(scan.image, scan.grid)
    facts = json.loads((case.folder / "case.json").read_text())
    assert facts.pop("scan_digest") == case.scan_digest
    (case.folder / "case.json").write_text(json.dumps(facts))
    assert find_missing([entry], recipe, LABELS, folder=tmp_path / "cache") == [entry]
    (again,) = build([entry], recipe, tmp_path / "cache")
    assert (again.folder, again.scan_digest) == (case.folder, case.scan_digest)


def test_a_damaged_case_is_reported_when_it_is_read(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    (case,) = prepare(tmp_path, [(image, mask)], make_recipe())
    (case.folder / "image.b2nd").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="a prepared case of the cache cannot be read") as raised:
        case.read((0, 0, 0), (4, 4, 4))
    assert raised.value.facts["case"] == "case0"


def test_keeps_the_share_that_a_crop_to_the_lungs_kept(tmp_path):
    from tests.samples.synthetic_chest import AFFINE, chest

    recipe = make_recipe(spacing_mm=(5.0, 5.0, 10.0), lung_crop=True)
    entries = []
    for name, lungs in (("chest", True), ("abdomen", False)):
        image = chest(lungs=lungs)
        mask = np.zeros(image.shape, np.uint8)
        mask[16:19, 22:25, 9:11] = 1
        entries.append(save_entry(tmp_path / "data", name, image, mask, AFFINE))
    for _ in range(2):  # built, then found again
        found, whole = build_cache(entries, recipe, LABELS, folder=tmp_path, load=load_entry, workers=0, progress=False)
        assert found.lung_share == pytest.approx(np.prod(found.grid.shape) / (64 * 48 * 20))
        assert found.lung_share < 0.8
        assert len(found.lesion_diameters_mm) == 1
        scan = load_entry(entries[0])
        assert found.scan_digest == scan_digest(scan.image, scan.grid)  # of all of it
        assert (whole.lung_share, whole.grid.shape) == (None, (64, 48, 20))


def test_names_nothing_of_the_data_set(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    build([save_entry(tmp_path / "data", "Miller_John", image, mask)], make_recipe(), tmp_path / "cache")
    written = list((tmp_path / "cache").rglob("*"))
    assert any(path.is_file() for path in written)
    for path in written:
        assert "Miller" not in path.name
        assert path.is_dir() or b"Miller" not in path.read_bytes()


def test_two_builders_at_once_prepare_each_case_once(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    entries = [save_entry(tmp_path, f"c{number}", image + number, mask) for number in range(6)]
    loads, guard = [], threading.Lock()

    def load(entry):
        with guard:
            loads.append(entry.id)
        return load_entry(entry)

    with ThreadPoolExecutor(2) as pool:
        builders = [pool.submit(build, entries, make_recipe(), tmp_path / "cache", load=load) for _ in range(2)]
        results = [builder.result() for builder in builders]
    assert sorted(loads) == sorted(entry.id for entry in entries)
    assert [case.folder for case in results[0]] == [case.folder for case in results[1]]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from tests.samples.prepared_cases import *
    from segpipe.preprocessing.cache import build as cache

    entries = [save_entry(Path(sys.argv[1]), f"c{n}", make_scan(seed=n)[0], make_scan()[1]) for n in range(3)]
    write = cache.write_case

    def die_in_the_second(folder, case):
        write(folder, case)
        if len(list(folder.parent.glob("*.part"))) and len(list(folder.parent.glob("*/case.json"))) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    cache.write_case = die_in_the_second
    cache.build_cache(entries, make_recipe(), LABELS, folder=Path(sys.argv[1]) / "cache", load=load_entry, workers=0)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")
def test_a_killed_builder_leaves_nothing_wrong(tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path)], capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(unfinished(tmp_path / "cache")) == 1
    entries = [save_entry(tmp_path, f"c{n}", make_scan(seed=n)[0], make_scan()[1]) for n in range(3)]
    cases = build(entries, make_recipe(), tmp_path / "cache")
    assert unfinished(tmp_path / "cache") == []
    for number, case in enumerate(cases):
        np.testing.assert_array_equal(whole(case)[0], np.clip(make_scan(seed=number)[0], -1000, 400))


def save_nifti_entries(folder, images, mask):
    grid = Grid(mask.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    mask_file = write_volume(folder / "mask.nii.gz", mask, grid)
    files = [write_volume(folder / f"image{number}.nii.gz", image, grid) for number, image in enumerate(images)]
    return [Entry(file.name[:6], "p", file, mask_file) for file in files]


@pytest.mark.slow
def test_processes_build_what_one_process_builds(tmp_path):
    images = [make_scan(seed=number)[0] for number in range(3)]
    _, mask = make_scan(lesions=[((10, 10, 10), 3)])
    *good, flat = save_nifti_entries(tmp_path, [*images, np.zeros_like(images[0])], mask)
    load = partial(load_case, labels=LABELS)
    with pytest.raises(ImageError, match="the image is constant"):
        build([flat, *good], make_recipe(), tmp_path / "parallel", load=load, workers=2)
    parallel = build(good, make_recipe(), tmp_path / "parallel", load=None)
    serial = build(good, make_recipe(), tmp_path / "serial", load=load)
    for one, other in zip(parallel, serial, strict=True):
        assert one.id == other.id
        for file in ("image.b2nd", "mask.b2nd", "points.i16", "case.json"):
            assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes()


@pytest.mark.slow
def test_a_killed_process_costs_its_case(tmp_path):
    image, mask = make_scan(lesions=[((10, 10, 10), 3)])
    entries = [save_entry(tmp_path, f"c{number}", image + number, mask) for number in range(2)]
    with pytest.raises(SegpipeError, match=r"\(2 mistakes\)") as caught:
        build(entries, make_recipe(), tmp_path / "cache", load=die, workers=2)
    assert str(caught.value).count("was killed, most likely for lack of memory") == 1
    assert "cases  2: c0, c1" in str(caught.value)


def test_a_patch_touches_only_its_chunks(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(-1000, 400, (256, 64, 64)).astype(np.int16)
    (case,) = prepare(tmp_path, [(image, np.zeros(image.shape, np.uint8))], make_recipe())
    file = case.folder / "image.b2nd"
    content = bytearray(file.read_bytes())
    # four chunks of 64 voxels along x lie one after the other; the second half of the third is overwritten
    start = int(len(content) * 0.65)
    content[start : start + 20_000] = b"\xff" * 20_000
    file.write_bytes(content)
    for first in (0, 64, 192):
        patch, _ = case.read((first, 0, 0), (64, 64, 64))
        np.testing.assert_array_equal(patch, image[first : first + 64])
    with pytest.raises(DatasetError, match="cannot be read"):
        case.read((128, 0, 0), (64, 64, 64))


@pytest.mark.realdata
def test_real_nodules_keep_their_lesions_and_volume(realdata, tmp_path):
    """Every 40th crop of LIDC, on the grid of `conf/recipe/ct_nodule_voi.yaml` and on one four times as coarse."""
    folder = realdata / "lidc_nodules"
    images = sorted((folder / "images").glob("*.nii.gz"))[::40]
    entries = [Entry(file.name, file.name, file, folder / "masks" / file.name) for file in images]
    load = partial(load_case, labels=LABELS)
    fine, coarse = (
        build(entries, make_recipe(spacing_mm=spacing), tmp_path / "cache", load=load)
        for spacing in ((0.7, 0.7, 1.25), (2.8, 2.8, 5.0))
    )
    assert entries
    for entry, small, large in zip(entries, fine, coarse, strict=True):
        case = load(entry)
        true_mm3 = np.count_nonzero(case.mask) * case.grid.voxel_volume_mm3
        kept_mm3 = np.count_nonzero(whole(small)[1]) * small.grid.voxel_volume_mm3
        # a crop cut through the lesion may gain or lose half a slice at its end
        assert kept_mm3 == pytest.approx(true_mm3, rel=0.25), entry.id
        assert whole(large)[1].any(), entry.id
