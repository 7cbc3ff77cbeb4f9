"""Every corruption in every severity, alone and as an augmentation."""

import numpy as np
import pytest
import torch

from segpipe.case import Case
from segpipe.corruptions import CORRUPTIONS, SEVERITIES, RandCorruptiond, corrupt
from segpipe.errors import ConfigError
from segpipe.geometry import Grid
from segpipe.preprocessing.augmentation import build_augmentation

NAMES = sorted(CORRUPTIONS)
STAYING = sorted(name for name, one in CORRUPTIONS.items() if not one.moves)


@pytest.fixture(scope="module")
def chest():
    """A noisy body with two lungs and a ball in one of them, 240×211×48 mm."""
    x, y, z = np.meshgrid(*(np.arange(count) for count in (100, 88, 20)), indexing="ij")
    image = np.full(x.shape, -1000.0)
    image[np.hypot((x - 50) / 46, (y - 40) / 36) < 1] = 40
    for side in (28, 72):
        image[np.hypot((x - side) / 16, (y - 40) / 26) < 1] = -850
    ball = np.sqrt((x - 28) ** 2 + (y - 40) ** 2 + (z - 10) ** 2) < 4
    image[ball] = 40
    image += np.random.default_rng(0).normal(0, 15, image.shape)
    grid = Grid((100, 88, 20), np.diag([2.4, 2.4, 2.4, 1.0]))
    return Case("chest", np.rint(image).astype(np.int16), grid, ball.astype(np.uint8))


@pytest.mark.parametrize("name", sorted({*NAMES} - {"partial_coverage"}))
def test_each_severity_is_further_from_the_scan_than_the_one_before(name, chest):
    changed = [corrupt(chest, name, severity) for severity in SEVERITIES]
    far = [float(np.abs(case.image.astype(float) - chest.image).mean()) for case in changed]
    assert far == sorted(far)
    assert far[0] < far[4]
    assert [case.image.dtype for case in changed] == [np.int16] * 5


def test_each_severity_covers_less(chest):
    changed = [corrupt(chest, "partial_coverage", severity) for severity in SEVERITIES]
    assert [case.image.shape[2] for case in changed] == [17, 14, 11, 8, 5]
    assert [bool(case.mask.any()) for case in changed] == [True] * 5


@pytest.mark.parametrize("name", STAYING)
def test_lesions_stay_where_they_are(name, chest):
    changed = corrupt(chest, name, 5)
    np.testing.assert_array_equal(changed.mask, chest.mask)
    assert changed.grid.matches(chest.grid)


@pytest.mark.parametrize("name", NAMES)
def test_a_corruption_is_a_function_of_case_and_seed(name, chest):
    first, again = (corrupt(chest, name, 3, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)


@pytest.mark.parametrize("name", ["low_dose", "arms_down", "motion", "metal", "tilt", "offset"])
def test_other_seeds_draw_others(name, chest):
    drawn = [corrupt(chest, name, 3, seed=seed).image for seed in range(8)]
    assert any(not np.array_equal(drawn[0], other) for other in drawn[1:])


def test_levels_rise_or_fall_and_say_where_they_come_from():
    found = list(CORRUPTIONS.values())
    assert [len(set(one.levels)) for one in found] == [5] * 17
    assert all(list(one.levels) in (sorted(one.levels), sorted(one.levels, reverse=True)) for one in found)
    assert all(one.unit and one.source for one in found)


def test_a_wrong_name_or_severity_is_explained(chest):
    with pytest.raises(ConfigError, match="no such corruption") as caught:
        corrupt(chest, "low_doze", 1)
    assert caught.value.hint == "did you mean low_dose?"
    with pytest.raises(ConfigError, match="a severity must be one of 1 to 5"):
        corrupt(chest, "low_dose", 6)


def augmentation(**changes):
    settings = {"kinds": ["low_dose", "offset"], "spacing_mm": [0.7, 0.7, 1.25], "window_hu": [-1000, 400], "prob": 1.0}
    return RandCorruptiond(**{**settings, **changes})


@pytest.mark.parametrize("name", STAYING)
def test_patches_are_corrupted_in_hu(name):
    patch = {"image": torch.rand(1, 16, 16, 8, generator=torch.Generator().manual_seed(0))}
    before = patch["image"].clone()
    transform = augmentation(kinds=[name], severities=[4, 4])
    transform.set_random_state(0)
    changed = transform(patch)["image"]
    assert changed.shape == before.shape
    assert changed.dtype == torch.float32
    assert torch.equal(patch["image"], before)
    assert not torch.equal(changed, before)


def test_an_offset_of_a_patch_is_in_hu():
    image = torch.full((1, 4, 4, 2), 0.5)
    transform = augmentation(kinds=["offset"], severities=[4, 4])
    transform.set_random_state(0)
    changed = transform({"image": image})["image"]
    torch.testing.assert_close((changed - image).abs() * 1400, torch.full_like(image, 70.0), atol=0.01, rtol=0)


def test_an_augmentation_is_built_from_its_configuration_and_repeats_itself():
    spec = {"robust": {"_target_": "segpipe.corruptions.RandCorruptiond", "kinds": STAYING, "prob": 0.5,
                       "spacing_mm": [0.7, 0.7, 1.25], "window_hu": [-1000.0, 400.0]}}  # fmt: skip
    built = build_augmentation(spec)
    image = torch.rand(1, 16, 16, 8)
    made = [
        [built.apply({"image": image, "label": image > 0.5}, np.random.default_rng(seed))["image"] for seed in range(8)]
        for _ in range(2)
    ]
    assert all(torch.equal(*pair) for pair in zip(*made, strict=True))
    unchanged = sum(torch.equal(one, image) for one in made[0])
    assert 0 < unchanged < 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": ["tilt"]}, "must be of these corruptions\n  found  tilt"),
        ({"kinds": ["pgd"]}, "must be of these corruptions\n  found  pgd"),
        ({"kinds": []}, "must be of these corruptions\n  found  none"),
        ({"severities": [0, 3]}, "severities must go from 1"),
        ({"severities": [3, 2]}, "severities must go from 1"),
    ],
)
def test_a_wrong_augmentation_is_explained(changes, message):
    with pytest.raises(ConfigError, match=message):
        augmentation(**changes)
