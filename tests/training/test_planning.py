"""A plan follows from the fingerprint and from what a dry step takes, and says why."""

import numpy as np
import pytest
import yaml

from segpipe.datasets.fingerprint import Fingerprint, take_fingerprint
from segpipe.datasets.folders import find_cases
from segpipe.errors import ConfigError
from segpipe.training.dry_step import measure_step
from segpipe.training.planning import propose

NETWORK = {"name": "unet"}
GB = 2**30


def fingerprint(spacing=(0.7, 0.7, 1.25), diameters=(8.0, 12.0, 20.0), extent=(350.0, 350.0, 300.0)) -> Fingerprint:
    return Fingerprint(
        cases=3,
        spacing_mm=np.array([spacing] * 3),
        extent_mm=np.array([extent] * 3),
        lesion_hu=(-600.0, -50.0, 210.0),
        lesions_per_case=(1, 1, 1),
        volumes_mm3=(100.0, 500.0, 2000.0),
        diameters_mm=diameters,
    )


def costs(bytes_per_voxel: float):
    return lambda network, patch, batch: int(bytes_per_voxel * np.prod(patch) * batch)


def test_the_numbers_follow_from_the_data():
    plan = propose(fingerprint(), NETWORK, memory_bytes=8 * GB, measure=costs(1000))
    assert plan.values["recipe"]["spacing_mm"] == [0.7, 0.7, 1.25]
    assert plan.values["recipe"]["window_hu"] == [-1000.0, 250.0]
    # at least 64 mm of context: 64 / 0.7 = 91.4 and 64 / 1.25 = 51.2, rounded to multiples of 8
    assert plan.values["recipe"]["patch"] == [88, 88, 48]
    # 88·88·48 voxels of 1000 bytes are 0.346 GB: sixteen take 5.5 GB
    assert plan.values["training"]["batch_size"] == 16


def test_less_memory_takes_a_smaller_batch_and_then_a_smaller_patch():
    smaller = propose(fingerprint(), NETWORK, memory_bytes=2 * GB, measure=costs(1000))
    assert (smaller.values["training"]["batch_size"], smaller.values["recipe"]["patch"]) == (4, [88, 88, 48])
    smallest = propose(fingerprint(), NETWORK, memory_bytes=GB // 2, measure=costs(1000))
    assert np.prod(smallest.values["recipe"]["patch"]) * 2 * 1000 <= GB // 2


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
    plan = propose(fingerprint(spacing=(1.0, 1.0, 3.0)), NETWORK, memory_bytes=8 * GB, measure=costs(1))
    assert plan.values["recipe"]["patch"] == [64, 64, 24]
    assert plan.values["network"]["strides"] == [[2, 2, 1], [2, 2, 2], [2, 2, 2], [2, 2, 1]]


def test_the_plan_is_yaml_with_reasons():
    plan = propose(fingerprint(), NETWORK, memory_bytes=8 * GB, measure=costs(1000))
    text = plan.to_yaml("A plan.")
    assert yaml.safe_load(text) == plan.values
    assert text.count("#") == 1 + len(plan.reasons)


def test_a_fingerprint_measures_the_tiny_data_set(tiny_dataset):
    found = take_fingerprint(
        find_cases(tiny_dataset, table=None, case_column="case", patient_column="patient", label="nodule"),
        workers=0,
        progress=False,
    )
    assert found.cases == 10
    np.testing.assert_allclose(found.spacing_mm, [[1.0, 1.0, 1.5]] * 10, atol=1e-5)
    np.testing.assert_allclose(found.extent_mm[0], [40, 40, 36], atol=1e-4)
    assert found.lesions_per_case == (1,) * 10
    # balls of 4 to 7 mm radius at 0 HU with noise of 30 HU
    assert 7 < min(found.diameters_mm) <= max(found.diameters_mm) < 16
    assert abs(found.lesion_hu[1]) < 10
    told = found.to_dict()
    assert (told["cases"], told["lesions"]) == (10, 10)
    assert told["spacing_mm_along_body"]["50 %"] == 1.5
    assert told["voxels_right_left"] == dict.fromkeys(("0 %", "10 %", "50 %", "90 %", "100 %"), 40.0)
    assert told["lesion_diameter_mm"]["0 %"] == pytest.approx(min(found.diameters_mm), abs=1e-3)


@pytest.mark.slow
def test_a_dry_step_measures_more_memory_for_a_larger_batch():
    network = {"name": "unet", "channels": [8, 16], "strides": [2], "num_res_units": 1, "norm": "instance",
               "act": "relu", "dropout": 0.0}  # fmt: skip
    loss = {"name": "focal", "gamma": 2.0, "lesion_weight": 1.0}
    small, large = (measure_step(network, loss, patch=[64, 64, 32], batch=batch) for batch in (1, 16))
    assert large - small > 15 * 64 * 64 * 32 * 4 * 2  # images and logits of 15 more patches, at least
