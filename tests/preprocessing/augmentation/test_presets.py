"""Augmentation: motions against a pencil and MONAI, image and mask together, and values that stay a CT's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai import transforms as mt
from scipy.ndimage import gaussian_filter, map_coordinates

from segpipe.errors import ConfigError
from segpipe.preprocessing.augmentation import intensity
from segpipe.preprocessing.augmentation.presets import AUGMENTATIONS, build_augmentation, in_voxels, rotation
from segpipe.preprocessing.augmentation.spatial import SpatialTransform, read_patch
from tests.prepared_cases import augmentation_spec, make_recipe, make_scan, prepare

SPACING = (1.0, 1.0, 1.0)


def never(name, **changes):
    """The augmentation with every probability at 0."""
    values = augmentation_spec(name)
    off = {
        key: 0.0 for key in values if f"{key}_range" in values or key in {"flip", "quarter_turn", "rotate", "elastic"}
    }
    return {**values, **off, **changes}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    image, mask = make_scan((40, 36, 24), [((14, 12, 8), 7), ((30, 25, 18), 2)])
    image[20:28, 8:20, 5:15] = -600
    return prepare(tmp_path_factory.mktemp("augment"), [(image, mask)], make_recipe())[0]


def random_matrix(seed):
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-180, 180), rng.uniform(-40, 40), rng.uniform(-40, 40)
    matrix = rotation(2, angles[0]) @ rotation(1, angles[1]) @ rotation(0, angles[2])
    return matrix * rng.uniform(0.6, 1.5) + rng.uniform(-0.1, 0.1, (3, 3))


def by_scipy(case, start, patch, matrix, bend=0.0):
    """The slow and plain way: the whole volume, every voxel's place, trilinear interpolation in double precision."""
    image, mask = case.read((0, 0, 0), case.grid.shape)
    offsets = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in patch], indexing="ij"))
    centre = np.array(start) + (np.array(patch) - 1) / 2
    where = np.einsum("ij,jxyz->ixyz", matrix, offsets) + centre.reshape(3, 1, 1, 1) + bend
    return [map_coordinates(v.astype(float), where, order=1, mode="nearest") for v in (image, mask)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    planar=st.booleans(),
    patch=st.tuples(*[st.integers(1, 30)] * 3),
    start=st.tuples(*[st.integers(-10, 30)] * 3),
)
def test_a_motion_moves_voxels_where_scipy_moves_them(case, seed, planar, patch, start):
    matrix = random_matrix(seed)
    if planar:
        matrix[:2, 2] = matrix[2, :2] = 0.0
    image, mask = read_patch(case, start, patch, SpatialTransform(matrix=matrix))
    wanted, share = by_scipy(case, start, patch, matrix)
    np.testing.assert_allclose(image, wanted, atol=0.5)
    decided = np.abs(share - 0.5) > 1e-3
    np.testing.assert_array_equal(mask.numpy()[decided], (share >= 0.5)[decided])


@pytest.mark.parametrize("seed", range(4))
def test_a_motion_equals_monai(case, seed):
    matrix, patch, start = random_matrix(seed), (20, 18, 12), (8, 9, 6)
    volume = torch.from_numpy(case.read((0, 0, 0), case.grid.shape)[0]).float()[None]
    centre = np.array(start) + (np.array(patch) - 1) / 2
    shift = np.eye(4)
    shift[:3, 3] = centre - (np.array(case.grid.shape) - 1) / 2
    affine = np.eye(4)
    affine[:3, :3] = matrix
    grid, _ = mt.AffineGrid(affine=torch.from_numpy(shift @ affine))(spatial_size=patch)
    wanted = mt.Resample(mode="bilinear", padding_mode="border")(volume, grid=grid)[0]
    image, _ = read_patch(case, start, patch, SpatialTransform(matrix=matrix))
    np.testing.assert_allclose(image, wanted, atol=0.5)


def test_a_bend_moves_voxels_where_scipy_moves_them(case):
    patch, start = (20, 18, 12), (8, 9, 6)
    bend = np.random.default_rng(0).normal(0, 2, (3, 2, 2, 2)).astype(np.float32)
    ends = np.stack(np.meshgrid(*[np.linspace(0, 1, n) for n in patch], indexing="ij"))
    field = np.stack([map_coordinates(axis.astype(float), ends, order=1) for axis in bend])
    image, mask = read_patch(case, start, patch, SpatialTransform(matrix=rotation(0, 20.0), bend=bend))
    wanted, share = by_scipy(case, start, patch, rotation(0, 20.0), field)
    np.testing.assert_allclose(image, wanted, atol=0.5)
    np.testing.assert_array_equal(mask, share >= 0.5)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
def test_turns_and_flips_are_numpys(case, turns, flips):
    patch, start = (12, 16, 6), (8, 9, 6)
    motion = SpatialTransform(flips=flips, turns=turns)
    image, mask = read_patch(case, start, patch, motion)
    source = case.read(start, motion.source_shape(patch))
    for ours, array in zip((image, mask), source, strict=True):
        np.testing.assert_array_equal(ours, np.flip(np.rot90(array, turns), flips))
        assert ours.shape == patch


def test_turns_and_flips_come_after_the_resampling(case):
    patch, start, matrix = (12, 16, 6), (8, 9, 6), rotation(2, 33.0)
    motion = SpatialTransform(flips=(1,), turns=1, matrix=matrix)
    still, _ = read_patch(case, start, motion.source_shape(patch), SpatialTransform(matrix=matrix))
    moved, _ = read_patch(case, start, patch, motion)
    np.testing.assert_array_equal(moved, np.flip(np.rot90(still), 1))


def test_a_rotation_by_90_degrees_is_a_quarter_turn(case):
    # the matrix leads from the patch to the scan, so the patch's content turns the other way
    image, _ = read_patch(case, (8, 8, 6), (12, 12, 6), SpatialTransform(matrix=rotation(2, 90.0)))
    turned, _ = read_patch(case, (8, 8, 6), (12, 12, 6), SpatialTransform(turns=3))
    np.testing.assert_allclose(image, turned, atol=0.05)


def test_rotations_stay_rotations_on_anisotropic_voxels():
    # 90° about x on voxels of 1×1×2 mm: one voxel along z (2 mm) becomes two along y
    matrix = in_voxels(rotation(0, 90.0), (1.0, 1.0, 2.0))
    np.testing.assert_allclose(matrix @ [0, 0, 1], [0, -2, 0], atol=1e-12)
    np.testing.assert_allclose(matrix @ [0, 1, 0], [0, 0, 0.5], atol=1e-12)
    assert in_voxels(None, SPACING) is None


def test_scale_range_is_how_structures_grow(case):
    augmentation = build_augmentation(never("light", scale=1.0, scale_range=[2.0, 2.0]))
    motion = augmentation.motion(np.random.default_rng(0), SPACING)
    np.testing.assert_allclose(motion.matrix, np.eye(3) / 2)


def test_no_quarter_turns_where_the_plane_is_anisotropic():
    augmentation = build_augmentation(never("light", quarter_turn=1.0))
    rng = np.random.default_rng(0)
    assert {augmentation.motion(rng, (1.0, 1.0, 3.0)).turns for _ in range(50)} == {1, 2, 3}
    assert {augmentation.motion(rng, (1.0, 1.2, 1.0)).turns for _ in range(50)} == {0}


@pytest.mark.parametrize("name", ["light", "strong"])
def test_probability_zero_changes_nothing(name):
    augmentation = build_augmentation(never(name))
    rng, image = np.random.default_rng(0), torch.rand(6, 5, 4)
    for _ in range(20):
        motion = augmentation.motion(rng, SPACING)
        assert motion.is_still
        assert motion.flips == ()
        assert motion.turns == 0
        assert torch.equal(augmentation.intensities(image, rng), image)


@pytest.mark.parametrize(
    ("name", "key"),
    [("light", key) for key in ("noise", "brightness", "contrast")]
    + [("strong", key) for key in ("blur", "low_resolution", "gamma")],
)
def test_each_intensity_key_has_an_effect_that_stays_in_the_window(name, key):
    augmentation = build_augmentation(never(name, **{key: 1.0}))
    image = torch.rand(12, 11, 10, generator=torch.Generator().manual_seed(0))
    before = image.clone()
    changed = augmentation.intensities(image, np.random.default_rng(1))
    assert torch.equal(image, before)
    assert not torch.allclose(changed, image, atol=1e-3)
    assert 0.0 <= float(changed.min()) <= float(changed.max()) <= 1.0
    assert changed.shape == image.shape


@pytest.mark.parametrize(("key", "value"), [("rotate", 1.0), ("scale", 1.0), ("shear", 1.0), ("elastic", 1.0)])
def test_each_motion_key_has_an_effect(key, value):
    motion = build_augmentation(never("strong", **{key: value})).motion(np.random.default_rng(0), SPACING)
    assert not motion.is_still


def test_light_rotations_stay_in_the_axial_plane():
    augmentation = build_augmentation(never("light", rotate=1.0, rotate_degrees=30.0))
    rng = np.random.default_rng(0)
    angles = []
    for _ in range(200):
        matrix = augmentation.motion(rng, SPACING).matrix
        np.testing.assert_allclose(matrix[2], [0, 0, 1])
        angles.append(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
    assert -30 <= min(angles) < -25
    assert 25 < max(angles) <= 30


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_the_shipped_files_fit_their_builders(name):
    assert type(build_augmentation(augmentation_spec(name))) is AUGMENTATIONS[name]


def test_swapped_ranges_are_refused():
    with pytest.raises(ConfigError, match=r"from its lower to its upper end\n  augmentation.scale_range  \[1.4, 0.7\]"):
        build_augmentation(augmentation_spec("light", scale_range=[1.4, 0.7]))
    with pytest.raises(ConfigError, match="unknown augmentation"):
        build_augmentation({"name": "lihgt"})


def test_noise_has_its_deviation():
    noisy = intensity.add_noise(torch.full((40, 40, 40), 0.5), 0.05, np.random.default_rng(0))
    # standard errors for 64,000 voxels: 0.0002 of the mean, 0.00014 of the deviation
    assert float(noisy.mean()) == pytest.approx(0.5, abs=0.001)
    assert float(noisy.std()) == pytest.approx(0.05, abs=0.001)


def test_intensities_from_a_pencil():
    image = torch.tensor([0.0, 0.25, 1.0]).reshape(3, 1, 1)
    assert intensity.shift(image, 0.1).flatten().tolist() == pytest.approx([0.1, 0.35, 1.1])
    flat = torch.tensor([0.2, 0.4, 0.6]).reshape(3, 1, 1)
    assert intensity.adjust_contrast(flat, 2.0).flatten().tolist() == pytest.approx([0.0, 0.4, 0.8])
    assert intensity.adjust_gamma(image, 2.0, inverted=False).flatten().tolist() == pytest.approx([0.0, 0.0625, 1.0])
    assert intensity.adjust_gamma(image, 2.0, inverted=True).flatten().tolist() == pytest.approx([0.0, 0.4375, 1.0])


def test_low_resolution_from_a_pencil():
    # 4 voxels to 2: the nearest to 0.5 and 2.5 (of 0…3) are voxels 1 and 3; back at −0.25, 0.25, 0.75, 1.25 of 0…1
    image = torch.tensor([0.0, 4.0, 7.0, 8.0]).reshape(4, 1, 1)
    assert intensity.lower_resolution(image, 0.5).flatten().tolist() == pytest.approx([4.0, 5.0, 7.0, 8.0])


def test_low_resolution_equals_torchs_interpolation():
    image = torch.rand(13, 10, 7, generator=torch.Generator().manual_seed(0))
    coarse = torch.nn.functional.interpolate(image[None, None], size=(8, 6, 4), mode="nearest-exact")
    wanted = torch.nn.functional.interpolate(coarse, size=(13, 10, 7), mode="trilinear")[0, 0]
    torch.testing.assert_close(intensity.lower_resolution(image, 0.6), wanted, atol=1e-5, rtol=0)


def test_blur_keeps_the_sum_and_spreads_a_point():
    image = torch.zeros(15, 15, 15)
    image[7, 7, 7] = 1.0
    blurred = intensity.blur(image, 1.0)
    assert float(blurred.sum()) == pytest.approx(1.0, abs=1e-3)
    # the peak of a Gaussian with σ = 1 voxel: 1 / (1 + 2·e^-½ + 2·e^-2 + 2·e^-4½) = 0.3990 along each axis
    assert float(blurred[7, 7, 7]) == pytest.approx(0.3990**3, abs=1e-4)
    assert float(blurred[7, 7, 8] / blurred[7, 7, 7]) == pytest.approx(np.exp(-0.5), abs=1e-4)


def test_blur_repeats_the_border():
    flat = torch.full((5, 1, 4), 0.7)
    torch.testing.assert_close(intensity.blur(flat, 0.8), flat)


def test_blur_equals_scipys():
    image = torch.rand(12, 9, 7, generator=torch.Generator().manual_seed(0))
    wanted = gaussian_filter(image.double().numpy(), 0.9, mode="nearest", radius=3)
    np.testing.assert_allclose(intensity.blur(image, 0.9), wanted, atol=1e-5)


def test_values_equal_monais():
    image = torch.rand(12, 11, 10, generator=torch.Generator().manual_seed(0))
    image[0, 0, 0], image[0, 0, 1] = 0.0, 1.0  # AdjustContrast works between the patch's own ends
    fixed_mean = mt.ScaleIntensityFixedMean(factor=0.3, preserve_range=False, fixed_mean=True)(image[None])[0]
    pairs = [
        (intensity.shift(image, 0.1), mt.ShiftIntensity(0.1)(image[None])[0]),
        (intensity.adjust_contrast(image, 1.3), fixed_mean),
        (intensity.adjust_gamma(image, 0.8, inverted=False), mt.AdjustContrast(0.8)(image[None])[0]),
        (
            intensity.adjust_gamma(image, 0.8, inverted=True),
            mt.AdjustContrast(0.8, invert_image=True)(image[None])[0],
        ),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_blur_equals_monais_away_from_the_border():
    image = torch.rand(20, 19, 18, generator=torch.Generator().manual_seed(0))
    theirs = mt.GaussianSmooth(1.0, approx="sampled")(image[None])[0]
    inner = (slice(5, -5),) * 3
    np.testing.assert_allclose(intensity.blur(image, 1.0)[inner], theirs[inner], atol=2e-3)
