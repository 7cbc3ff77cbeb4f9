"""Changes of a patch's values, each as cheap as it can be on one CPU thread."""

import numpy as np
import torch

from segpipe.preprocessing.steps import interpolate


def add_noise(image_xyz: torch.Tensor, deviation: float, rng: np.random.Generator) -> torch.Tensor:
    """Adds Gaussian noise.

    Drawn with torch from a seed of `rng`: MONAI's RandGaussianNoise takes five times as long, most of it for normal
    numbers in double precision.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    return torch.randn(image_xyz.shape, generator=generator).mul_(deviation).add_(image_xyz)


def shift(image_xyz: torch.Tensor, offset: float) -> torch.Tensor:
    """Adds one number."""
    return image_xyz + offset


def stretch(image_xyz: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiplies the distance of all values from their mean."""
    mean = image_xyz.mean()
    return (image_xyz - mean).mul_(factor).add_(mean)


def blur(image_xyz: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur with `sigma` in voxels."""
    from monai.transforms import GaussianSmooth

    smoothed: torch.Tensor = GaussianSmooth(sigma)(image_xyz[None])[0]
    return smoothed


def lower_resolution(image_xyz: torch.Tensor, factor: float) -> torch.Tensor:
    """Resamples to `factor` of the voxels along each axis (nearest) and back (linear), as nnU-Net does."""
    coarse, positions = image_xyz, []
    for axis, count in enumerate(image_xyz.shape):
        fewer = max(1, round(count * factor))
        nearest = ((torch.arange(fewer) + 0.5) * (count / fewer)).floor().long()
        coarse = coarse.index_select(axis, nearest)
        positions.append((torch.arange(count, dtype=torch.float64) + 0.5) * (fewer / count) - 0.5)
    return interpolate(coarse, positions)


def bend_curve(image_xyz: torch.Tensor, gamma: float, *, inverted: bool) -> torch.Tensor:
    """Raises values in 0…1 to the power of `gamma`; inverted it works on 1 − value."""
    if inverted:
        return 1 - (1 - image_xyz).pow_(gamma)
    return image_xyz.pow(gamma)
