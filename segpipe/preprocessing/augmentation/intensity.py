"""Changes of a patch's values, each as cheap as it can be on one CPU thread.

The numbers are those of MONAI's ShiftIntensity, ScaleIntensityFixedMean, GaussianSmooth, RandSimulateLowResolution and
AdjustContrast, to which the tests hold them. MONAI's own take two to five times as long on a patch, wrap it in another
kind of tensor and cost a worker 170 MB of imports.
"""

import numpy as np
import torch

from segpipe.preprocessing.resampling import interpolate


def add_noise(image_xyz: torch.Tensor, deviation: float, rng: np.random.Generator) -> torch.Tensor:
    """Adds Gaussian noise, drawn by torch from a seed of `rng` because numpy takes three times as long."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    return torch.randn(image_xyz.shape, generator=generator).mul_(deviation).add_(image_xyz)


def shift(image_xyz: torch.Tensor, offset: float) -> torch.Tensor:
    """Adds one number."""
    return image_xyz + offset


def adjust_contrast(image_xyz: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiplies the distance of all values from their mean."""
    mean = image_xyz.mean()
    return (image_xyz - mean).mul_(factor).add_(mean)


def blur(image_xyz: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with `sigma` in voxels; the border repeats."""
    reach = max(1, int(np.ceil(3 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis, count in enumerate(image_xyz.shape):
        padded = image_xyz.index_select(axis, torch.arange(-reach, count + reach).clamp_(0, count - 1))
        image_xyz = padded.narrow(axis, 0, count) * float(weights[0])
        for place, weight in enumerate(weights[1:], start=1):
            image_xyz.add_(padded.narrow(axis, place, count), alpha=float(weight))
    return image_xyz


def lower_resolution(image_xyz: torch.Tensor, factor: float) -> torch.Tensor:
    """Resamples to `factor` of the voxels along each axis (nearest) and back (linear), as nnU-Net does."""
    coarse, positions = image_xyz, []
    for axis, count in enumerate(image_xyz.shape):
        fewer = max(1, round(count * factor))
        nearest = ((torch.arange(fewer) + 0.5) * (count / fewer)).floor().long()
        coarse = coarse.index_select(axis, nearest)
        positions.append((torch.arange(count, dtype=torch.float64) + 0.5) * (fewer / count) - 0.5)
    return interpolate(coarse, positions)


def adjust_gamma(image_xyz: torch.Tensor, gamma: float, *, inverted: bool) -> torch.Tensor:
    """Raises values in 0…1 to the power of `gamma`; inverted it works on 1 − value."""
    if inverted:
        return 1 - (1 - image_xyz).pow_(gamma)
    return image_xyz.pow(gamma)
