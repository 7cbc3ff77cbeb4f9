"""Changes of values against a pencil, torch, scipy and MONAI."""

import numpy as np
import pytest
import torch
from monai import transforms as mt
from scipy.ndimage import gaussian_filter

from segpipe.preprocessing.augmentation import intensity


def test_noise_has_its_deviation():
    noisy = intensity.add_noise(torch.full((40, 40, 40), 0.5), 0.05, seed=0)
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
