"""segpipe's own random transforms: what their numbers mean, their bounds, and that they are MONAI's."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from segpipe.preprocessing.augmentation import (
    ClipIntensityd,
    RandBlurd,
    RandBrightnessd,
    RandContrastd,
    RandGammad,
    RandLowResolutiond,
    RandNoised,
    RandSpatiald,
)
from segpipe.preprocessing.augmentation.spatial import plan_reading, read_box
from segpipe.preprocessing.augmentation.spatial_transform import in_voxels, rotation

SPACING = (1.0, 1.0, 1.0)
INTENSITY = [RandBlurd, RandBrightnessd, RandContrastd, RandGammad, RandLowResolutiond, RandNoised]


def seeded(transform, seed=0):
    transform.set_random_state(seed)
    return transform


def draw(seed=0, spacing=SPACING, **arguments):
    return seeded(RandSpatiald(**arguments), seed).randomize(spacing)


def test_rotations_stay_rotations_on_anisotropic_voxels():
    # 90° about x on voxels of 1×1×2 mm: one voxel along z (2 mm) becomes two along y
    matrix = in_voxels(rotation(0, 90.0), (1.0, 1.0, 2.0))
    np.testing.assert_allclose(matrix @ [0, 0, 1], [0, -2, 0], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0, 1, 0], [0, 0, 0.5], atol=1e-12)
    assert in_voxels(None, SPACING) is None


def test_scale_range_is_how_structures_grow():
    np.testing.assert_allclose(draw(scale_prob=1, scale_range=(2, 2)).matrix, np.eye(3) / 2)


def test_no_turns_by_90_degrees_where_the_plane_is_anisotropic():
    transform = seeded(RandSpatiald(rot90_prob=1))
    assert {transform.randomize((1.0, 1.0, 3.0)).rot90 for _ in range(50)} == {1, 2, 3}
    assert {transform.randomize((1.0, 1.2, 1.0)).rot90 for _ in range(50)} == {0}


def test_without_tilt_rotations_stay_in_the_axial_plane():
    transform = seeded(RandSpatiald(rotate_prob=1, rotate_degrees=30))
    angles = []
    for _ in range(200):
        matrix = transform.randomize(SPACING).matrix
        np.testing.assert_allclose(matrix[2], [0, 0, 1])
        angles.append(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert -30 <= min(angles) < -25
    assert 25 < max(angles) <= 30


@pytest.mark.parametrize(
    "arguments",
    [
        {"rotate_prob": 1, "rotate_degrees": 30, "tilt_degrees": 10},
        {"scale_prob": 1, "scale_range": (0.7, 1.4)},
        {"shear_prob": 1, "shear_range": (-0.1, 0.1)},
        {"displacement_prob": 1, "displacement_mm": 2},
    ],
)
def test_each_motion_has_an_effect(arguments):
    assert not draw(**arguments).is_still
    assert draw(**{**arguments, next(iter(arguments)): 0}).is_still


@pytest.mark.parametrize("kind", INTENSITY)
def test_each_change_has_an_effect_on_the_images_alone(kind):
    image = torch.rand(2, 12, 11, 10, generator=torch.Generator().manual_seed(0))
    data = {"image": image, "other": image.clone(), "label": image}
    before = image.clone()
    changed = seeded(kind(["image", "other"], prob=1))(data)
    assert torch.equal(image, before)
    assert changed["label"] is image
    assert not torch.allclose(changed["image"], image, atol=1e-3)
    assert torch.equal(changed["image"], changed["other"])
    assert changed["image"].shape == image.shape
    assert seeded(kind(prob=0))(data)["image"] is image


def test_clipping():
    image = torch.tensor([-0.5, 0.25, 1.5]).reshape(1, 3, 1, 1)
    assert ClipIntensityd()({"image": image})["image"].flatten().tolist() == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("kind", [*INTENSITY, RandSpatiald])
@pytest.mark.parametrize("wrap", [torch.as_tensor, np.asarray, MetaTensor])
def test_they_work_in_anybodys_compose(kind, wrap):
    motion = {"flip_prob": 0.5, "rotate_prob": 1, "rotate_degrees": 30, "displacement_prob": 0.5, "displacement_mm": 2}
    transform = kind(**(motion if kind is RandSpatiald else {"prob": 0.8}))
    image = torch.rand(1, 9, 9, 6, generator=torch.Generator().manual_seed(0))
    data = {"image": wrap(image), "label": wrap((image > 0.5).to(torch.uint8)), "name": "a"}
    results = []
    for _ in range(2):
        compose = Compose([transform, ClipIntensityd()]).set_random_state(seed=5)
        results.append([compose(data) for _ in range(4)])
    for one, other in zip(*results, strict=True):
        assert one["image"].shape == (1, 9, 9, 6)
        assert set(np.unique(one["label"])) <= {0, 1}
        assert one["name"] == "a"
        assert np.array_equal(one["image"], other["image"])
        assert np.array_equal(one["label"], other["label"])
    assert any(not np.array_equal(result["image"], image) for result in results[0])


def test_in_a_compose_image_and_masks_move_together_and_by_the_voxels_size():
    transform = RandSpatiald(rotate_prob=1, tilt_degrees=90)
    image = torch.zeros(1, 13, 13, 9)
    image[0, 3:10, 6, 2:7] = 1
    mask = image.to(torch.uint8)
    moved = seeded(transform)({"image": MetaTensor(image, affine=np.diag([1.0, 1.0, 2.0, 1.0])), "label": mask})
    wanted = plan_reading(draw(spacing=(1.0, 1.0, 2.0), rotate_prob=1, tilt_degrees=90), (0, 0, 0), (13, 13, 9))
    box = read_box(image[0], wanted.low, wanted.size)
    assert torch.equal(moved["image"][0], wanted.image(box))
    assert torch.equal(moved["label"][0], (wanted.image(box) >= 0.5).to(torch.uint8))
    assert not torch.equal(moved["image"], seeded(transform)({"image": image, "label": mask})["image"])
    assert type(moved["image"]) is torch.Tensor


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: RandNoised(prob=2), "prob=2: input should be less than or equal to 1"),
        (lambda: RandNoised(std_range=(0.2, 0.1)), "std_range=(0.2, 0.1): must go from its lower to its upper end"),
        (lambda: RandNoised(std_range=(-0.2, 0.1)), "std_range.0=-0.2: input should be greater than or equal to 0"),
        (lambda: RandBrightnessd(offset_range=(0, float("inf"))), "offset_range.1=inf: input should be a finite"),
        (lambda: RandGammad(gamma_range=(0, 1)), "gamma_range.0=0: input should be greater than 0"),
        (lambda: RandBlurd(sigma_range=(0, 1)), "sigma_range.0=0: input should be greater than 0"),
        (lambda: RandLowResolutiond(zoom_range=(0.5, 2)), "zoom_range.1=2: input should be less than or equal to 1"),
        (lambda: RandSpatiald(rotate_degrees=200), "rotate_degrees=200: input should be less than or equal to 180"),
        (lambda: RandSpatiald(scale_range=(0, 1)), "scale_range.0=0: input should be greater than 0"),
        (lambda: RandSpatiald(displacement_mm=50), "displacement_mm=50: input should be less than or equal to 20"),
        (
            lambda: RandContrastd(prob=-1, factor_range=(2, 1)),
            "prob=-1: input should be greater than or equal to 0; fa",
        ),
    ],
)
def test_numbers_out_of_bounds_are_refused_by_whoever_makes_a_transform(make, expected):
    with pytest.raises(ValueError, match=r"input should be|must go") as caught:
        make()
    assert expected in str(caught.value)
