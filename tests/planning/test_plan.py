"""A plan follows from the fingerprint and from what a dry step takes, and says why."""

from dataclasses import replace

import numpy as np
import pytest
import yaml

from segpipe.datasets.fingerprint import Fingerprint, Lesions, measure_case, take_fingerprint
from segpipe.datasets.manifest import Entry, Manifest
from segpipe.datasets.sources.folders import find_cases
from segpipe.errors import ConfigError
from segpipe.geometry import Grid
from segpipe.io.images.volumes import write_volume
from segpipe.planning.dry_step import measure_step
from segpipe.planning.plan import plan_labels, propose
from segpipe.planning.sizing import choose_strides

NETWORK = {"name": "unet"}
GB = 2**30


def fingerprint(spacing=(0.7, 0.7, 1.25), diameters=(8.0, 12.0, 20.0), extent=(350.0, 350.0, 300.0), **others):
    return Fingerprint(
        cases=3,
        spacing_mm=np.array([spacing] * 3),
        extent_mm=np.array([extent] * 3),
        lesions=lesions(diameters),
        **others,
    )


def lesions(diameters=(8.0, 12.0, 20.0), hu=(-600.0, -50.0, 210.0)) -> Lesions:
    return Lesions(hu=hu, per_case=(1, 1, 1), volumes_mm3=(100.0, 500.0, 2000.0), diameters_mm=diameters)


def costs(bytes_per_voxel: float):
    return lambda network, patch, batch: int(bytes_per_voxel * np.prod(patch) * batch)


def test_the_numbers_follow_from_the_data():
    plan = propose(replace(fingerprint(), cases=100), NETWORK, memory_bytes=8 * GB, measure=costs(1000))
    assert plan.values["recipe"]["spacing_mm"] == [0.7, 0.7, 1.25]
    assert plan.values["recipe"]["window_hu"] == [-1000.0, 250.0]
    # 500×500×240 voxels could be filled; 8 GB hold 4.29 million voxels of each of two patches: 192·192·112 are 4.13
    # million, and the axis that is shortest in mm (192·0.7 < 112·1.25) would grow to 224 next, 4.82 million
    assert plan.values["recipe"]["patch"] == [192, 192, 112]
    assert plan.values["training"]["batch_size"] == 2
    assert plan.reasons["recipe.patch"] == (
        "134×134×140 mm of a median scan of 350×350×300 mm; 95 % of the lesions are at most 19 mm long; "
        "the largest that fits with batch 2: 224×192×112 would take about 8.97 GB"
    )
    assert plan.reasons["training.batch_size"].startswith("a dry step took 7.69 GB of 8.00 GB; batch 3 would take")


def test_the_patch_grows_with_the_memory_up_to_the_median_scan_and_then_the_batch():
    many = replace(fingerprint(), cases=200)
    plans = [propose(many, NETWORK, memory_bytes=memory * GB, measure=costs(1000)) for memory in (1, 4, 24, 400)]
    voxels = [np.prod(plan.values["recipe"]["patch"]) for plan in plans]
    assert voxels == sorted(set(voxels))
    assert plans[-1].values["recipe"]["patch"] == [448, 448, 224]  # of 500×500×240; next would be 512 and 256
    assert plans[-1].reasons["recipe.patch"].endswith("the largest that the median scan holds")
    # 448·448·224 voxels take 41.87 GB each: nine take 376.8 of 400
    assert [plan.values["training"]["batch_size"] for plan in plans] == [2, 2, 2, 9]


def test_the_batch_does_not_show_a_twentieth_of_the_data_in_a_step():
    small = replace(fingerprint(extent=(44.8, 44.8, 20.0)), cases=100)
    plan = propose(small, NETWORK, memory_bytes=80 * GB, measure=costs(1000))
    assert plan.values["recipe"]["patch"] == [64, 64, 16]
    assert plan.values["training"]["batch_size"] == 5  # 5 % of 100 scans as large as the patch
    assert plan.reasons["training.batch_size"].endswith("that does not show more than 5% of all voxels in a step")


@pytest.mark.parametrize("base", [0, GB // 4])
def test_few_steps_are_measured_and_the_one_taken_is_among_them(base):
    measured = {}

    def measure(network, patch, batch):
        measured[(*patch, batch)] = int(base + 1500 * np.prod(patch) * batch)
        return measured[(*patch, batch)]

    plan = propose(fingerprint(), NETWORK, memory_bytes=8 * GB, measure=measure)
    assert plan.peak_bytes == measured[(*plan.values["recipe"]["patch"], plan.values["training"]["batch_size"])]
    assert 8 * GB / 1.25 < plan.peak_bytes <= 8 * GB  # an axis grows by a quarter at most
    assert len(measured) <= 6


def test_steps_that_run_out_of_memory_are_closed_in_from_both_sides():
    def measure(network, patch, batch):  # what is foretold from these fits always
        return 1000 if np.prod(patch) * batch <= 3_000_000 else None

    plan = propose(fingerprint(), NETWORK, memory_bytes=GB, measure=measure)
    # the axes grow in turn: 128·128·80 voxels are 1.31 million, 160·128·80 are 1.64 million
    assert plan.values["recipe"]["patch"] == [128, 128, 80]
    assert plan.reasons["recipe.patch"].endswith("160×128×80 ran out of memory")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="no patch fits the memory"):
        propose(fingerprint(), NETWORK, memory_bytes=1000, measure=costs(1000))
    with pytest.raises(ConfigError, match="no patch fits the memory"):
        propose(fingerprint(), NETWORK, memory_bytes=GB, measure=lambda network, patch, batch: None)


def test_small_lesions_refine_the_grid():
    plan = propose(fingerprint(spacing=(1.5, 1.5, 2.0), diameters=(4.0,)), NETWORK, memory_bytes=GB, measure=costs(1))
    assert plan.values["recipe"]["spacing_mm"] == [1.0, 1.0, 2.0]
    assert "4.0 mm (10th percentile)" in plan.reasons["recipe.spacing_mm"]


def test_thick_slices_take_the_finer_ones():
    mixed = fingerprint(spacing=(0.8, 0.8, 5.0))
    mixed.spacing_mm[0, 2] = 1.25
    plan = propose(mixed, NETWORK, memory_bytes=GB, measure=costs(1))
    # 10th percentile of 1.25, 5, 5 by linear interpolation: 1.25 + 0.2·3.75
    assert plan.values["recipe"]["spacing_mm"][2] == 2.0


def test_every_axis_keeps_voxels_at_the_bottom():
    plan = propose(fingerprint(), NETWORK, memory_bytes=8 * GB, measure=costs(1))
    total = np.prod(plan.values["network"]["strides"], axis=0)
    patch = np.array(plan.values["recipe"]["patch"])
    assert (patch % total == 0).all()
    assert (patch // total >= 4).all()
    assert len(plan.values["network"]["channels"]) == len(plan.values["network"]["strides"]) + 1


def test_thick_slices_are_halved_later_than_fine_pixels():
    # Pixels of 1 mm become 2 mm before slices of 3 mm are within twice of them.
    assert choose_strides([64, 64, 24], [1.0, 1.0, 3.0]) == [[2, 2, 1], [2, 2, 2], [2, 2, 2], [2, 2, 1]]


def test_the_plan_is_yaml_with_reasons():
    plan = propose(fingerprint(), NETWORK, memory_bytes=8 * GB, measure=costs(1000))
    text = plan.to_yaml("A plan.")
    assert yaml.safe_load(text) == plan.values
    assert text.count("#") == 1 + len(plan.reasons)


def test_a_fingerprint_measures_the_tiny_data_set(tiny_dataset):
    found = take_fingerprint(
        find_cases(tiny_dataset, table=None, case_column="case", patient_column="patient"),
        workers=0,
        progress=False,
    )
    assert found.cases == 10
    np.testing.assert_allclose(found.spacing_mm, [[1.0, 1.0, 1.5]] * 10, atol=1e-5)
    np.testing.assert_allclose(found.extent_mm[0], [40, 40, 36], atol=1e-4)
    assert found.lesions.per_case == (1,) * 10
    assert found.classes == {}
    # balls of 4 to 7 mm radius at 0 HU with noise of 30 HU
    assert 7 < min(found.lesions.diameters_mm) <= max(found.lesions.diameters_mm) < 16
    assert abs(found.lesions.hu[1]) < 10
    content = found.to_dict()
    assert (content["cases"], content["lesions"]) == (10, 10)
    assert content["spacing_mm_along_body"]["50 %"] == 1.5
    assert content["voxels_right_left"] == dict.fromkeys(("0 %", "10 %", "50 %", "90 %", "100 %"), 40.0)
    assert content["lesion_diameter_mm"]["0 %"] == pytest.approx(min(found.lesions.diameters_mm), abs=1e-3)


def test_lungs_in_a_mask_are_no_lesions_of_the_fingerprint(tmp_path):
    grid = Grid((20, 20, 20), np.eye(4))
    mask = np.zeros(grid.shape, np.uint8)
    mask[2:18, 2:18, 2:18] = 1
    mask[8:12, 8:12, 8:12] = 2
    image = np.where(mask == 2, 35, -800).astype(np.int16)
    image[0, 0, 0] = -1000
    files = [write_volume(tmp_path / f"{name}.nii.gz", array, grid) for name, array in (("i", image), ("m", mask))]
    found = measure_case(Entry("a", "p", *files), {1: "lung", 2: "tumour"})
    assert found.lesions.volumes_mm3 == (64.0,)
    assert set(found.lesions.hu.tolist()) == {35.0}
    assert found.classes == {}


def test_lesions_of_several_labels_are_measured_apart_and_together(tmp_path):
    grid = Grid((20, 20, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
    mask = np.zeros(grid.shape, np.uint8)
    mask[2:8, 2:8, 2:8] = 2  # 6·6·6 voxels of 2 mm³, of which the middle 2·2·2 are solid
    mask[4:6, 4:6, 4:6] = 1
    mask[14:16, 14:16, 14:16] = 1  # touches nothing
    image = np.select([mask == 1, mask == 2], [35, -500], -850).astype(np.int16)
    files = [write_volume(tmp_path / f"{name}.nii.gz", array, grid) for name, array in (("i", image), ("m", mask))]
    labels = {1: "solid", 2: "ground glass", 3: "cyst", 255: "ignore"}
    found = measure_case(Entry("a", "p", *files), labels)
    assert {name: lesions.volumes_mm3 for name, lesions in found.classes.items()} == {
        "solid": (16.0, 16.0), "ground glass": (416.0,), "cyst": ()
    }  # fmt: skip
    assert found.lesions.volumes_mm3 == (432.0, 16.0)
    assert [set(found.classes[name].hu.tolist()) for name in labels.values() if name != "ignore"] == [
        {35},
        {-500},
        set(),
    ]

    together = take_fingerprint(Manifest("d", "nifti", (Entry("a", "p", *files),), labels), workers=0, progress=False)
    content = together.to_dict()
    assert (content["lesions"], content["lesion_hu"]["50 %"]) == (2, -500.0)
    assert {name: own["lesions"] for name, own in content["classes"].items()} == {
        "solid": 2,
        "ground glass": 1,
        "cyst": 0,
    }
    assert content["classes"]["solid"]["lesion_hu"]["50 %"] == 35.0
    assert plan_labels(together) == {"labels": {1: "solid", 2: "ground glass"}, "ignore": 255}


def test_the_plan_sees_each_class():
    kinds = {"solid": lesions((4.0,), hu=(-100.0, 30.0, 340.0)), "ground_glass": lesions((20.0,)), "cyst": None}
    several = fingerprint(spacing=(1.5, 1.5, 2.0), diameters=(12.0,), classes=kinds)
    plan = propose(several, NETWORK, memory_bytes=GB, measure=costs(1))
    assert plan.values["recipe"]["labels"] == {1: "solid", 2: "ground_glass"}
    assert plan.values["recipe"]["spacing_mm"][:2] == [1.0, 1.0]  # 4 mm span 4 pixels
    assert plan.values["recipe"]["window_hu"] == [-1000.0, 350.0]
    assert plan.reasons["recipe.window_hu"].startswith("lesions span -600 to 340 HU")
    assert yaml.safe_load(plan.to_yaml("A plan.")) == plan.values
    alone = fingerprint(spacing=(1.5, 1.5, 2.0), diameters=(12.0,))
    assert "labels" not in propose(alone, NETWORK, memory_bytes=GB, measure=costs(1)).values["recipe"]


@pytest.mark.slow
def test_a_dry_step_measures_more_memory_for_a_larger_batch():
    network = {"name": "unet", "channels": [8, 16], "strides": [2], "num_res_units": 1, "norm": "instance",
               "act": "relu", "dropout": 0.0}  # fmt: skip
    loss = {"name": "focal", "gamma": 2.0, "lesion_weight": 1.0}
    small, large = (measure_step(network, loss, patch=[64, 64, 32], batch=batch) for batch in (1, 16))
    assert large - small > 15 * 64 * 64 * 32 * 4 * 2  # images and logits of 15 more patches, at least
