"""Changes of a patch's values, each as cheap as it can be on one CPU thread."""

import numpy as np
import torch
import torch.nn.functional as F


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
    """Resamples to `factor` of the voxels along each axis (nearest) and back (linear)."""
    size = [max(1, round(n * factor)) for n in image_xyz.shape]
    coarse = F.interpolate(image_xyz[None, None], size=size, mode="nearest-exact")
    return F.interpolate(coarse, size=list(image_xyz.shape), mode="trilinear")[0, 0]


def bend_curve(image_xyz: torch.Tensor, gamma: float, *, inverted: bool) -> torch.Tensor:
    """Raises values in 0…1 to the power of `gamma`; inverted it works on 1 − value."""
    if inverted:
        return 1 - (1 - image_xyz).pow_(gamma)
    return image_xyz.pow(gamma)
