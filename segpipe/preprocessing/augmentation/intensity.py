"""Changes of a patch's values, each as cheap as it can be on one CPU thread.

The numbers are those of MONAI's ShiftIntensity, ScaleIntensityFixedMean, GaussianSmooth, RandSimulateLowResolution and
AdjustContrast, to which the tests hold them. MONAI's own take two to five times as long on a patch, wrap it in another
kind of tensor.
"""

import numpy as np
import torch

from segpipe.preprocessing.resampling import interpolate


def add_noise(image: torch.Tensor, deviation: float, seed: int) -> torch.Tensor:
    """Adds Gaussian noise, drawn by torch because numpy takes three times as long."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(image.shape, generator=generator).mul_(deviation).add_(image)


def shift(image: torch.Tensor, offset: float) -> torch.Tensor:
    """Adds one number."""
    return image + offset


def adjust_contrast(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiplies the distance of all values from their mean."""
    mean = image.mean()
    return (image - mean).mul_(factor).add_(mean)


def blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of the last three axes with `sigma` in voxels; the border repeats."""
    reach = max(1, int(np.ceil(3 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (-3, -2, -1):
        count = image.shape[axis]
        padded = image.index_select(axis, torch.arange(-reach, count + reach).clamp_(0, count - 1))
        image = padded.narrow(axis, 0, count) * float(weights[0])
        for place, weight in enumerate(weights[1:], start=1):
            image.add_(padded.narrow(axis, place, count), alpha=float(weight))
    return image


def lower_resolution(image_xyz: torch.Tensor, factor: float) -> torch.Tensor:
    """Resamples to `factor` of the voxels along each axis (nearest) and back (linear), as nnU-Net does."""
    coarse, positions = image_xyz, []
    for axis, count in enumerate(image_xyz.shape):
        fewer = max(1, round(count * factor))
        nearest = ((torch.arange(fewer) + 0.5) * (count / fewer)).floor().long()
        coarse = coarse.index_select(axis, nearest)
        positions.append((torch.arange(count, dtype=torch.float64) + 0.5) * (fewer / count) - 0.5)
    return interpolate(coarse, positions)


def adjust_gamma(image: torch.Tensor, gamma: float, *, inverted: bool) -> torch.Tensor:
    """Raises values in 0…1 to the power of `gamma`; inverted it works on 1 − value."""
    if inverted:
        return 1 - (1 - image).pow_(gamma)
    return image.pow(gamma)
