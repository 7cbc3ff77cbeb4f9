"""The noise of a scan: how strong it is and how far it is correlated, measured and made."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_TO_SD = 1.4826  # median absolute deviation → standard deviation of a normal distribution
_FEWEST_PAIRS = 60
_SIGMAS = np.linspace(0.0, 1.5, 61)


@dataclass(frozen=True)
class Noise:
    """Noise of a scan within its axial slices.

    Args:
        sd_hu: Standard deviation.
        correlation: Between neighbours in a slice.
    """

    sd_hu: float
    correlation: float


def measure_noise(hu: NDArray[np.generic], tissue: NDArray[np.bool_], *, vertical: int) -> Noise | None:
    """Measures the noise where `tissue` is uniform, e.g. in lung parenchyma; None where there is too little of it.

    Differences between voxels one and two apart are taken, so that slow changes do not count, and their median
    absolute deviations, so that vessels do not. Their ratio says how wide a Gaussian filter gives such noise from white
    one, and so how far it is correlated.

    Args:
        hu: The scan, (x, y, z).
        tissue: Where to measure.
        vertical: The axis that runs across the slices.
    """
    one, two = (_spread(hu, tissue, step, vertical) for step in (1, 2))
    if one is None or two is None:
        return None
    first, second = _correlations().T
    ratio = (one / two) ** 2 if two else 1.0
    correlation = float(np.interp(-ratio, -(1 - first) / (1 - second), first))
    return Noise(one / float(np.sqrt(2 * (1 - correlation))), correlation)


def make_noise(
    shape: tuple[int, ...], correlation: float, *, vertical: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise of standard deviation 1, correlated within the slices and independent across them."""
    white = rng.standard_normal(shape, dtype=np.float32)
    sigma = float(np.interp(correlation, _correlations()[:, 0], _SIGMAS))
    if not sigma:
        return white
    sigmas = [0.0 if axis == vertical else sigma for axis in range(3)]
    smooth = ndimage.gaussian_filter(white, sigmas, mode="wrap")
    return np.asarray(smooth / np.sum(_weights(sigma) ** 2), dtype=np.float32)


@cache
def _correlations() -> NDArray[np.float64]:
    """Correlation of voxels one and two apart behind Gaussian filters of `_SIGMAS`, (n, 2)."""
    kernels = [_weights(float(sigma)) for sigma in _SIGMAS]
    found = [[kernel[step:] @ kernel[:-step] / (kernel @ kernel) for step in (1, 2)] for kernel in kernels]
    return np.array(found)


def _weights(sigma: float) -> NDArray[np.float64]:
    """Weights of a Gaussian filter in one direction."""
    impulse = np.zeros(17)
    impulse[8] = 1.0
    return np.asarray(ndimage.gaussian_filter1d(impulse, sigma) if sigma else impulse, dtype=np.float64)


def _spread(hu: NDArray[np.generic], tissue: NDArray[np.bool_], step: int, vertical: int) -> float | None:
    """Standard deviation of the differences between voxels of a slice that lie `step` apart, all of them tissue."""
    found = []
    for axis in range(3):
        if axis == vertical or hu.shape[axis] <= 2 * step:
            continue
        values, inside = np.moveaxis(hu, axis, 0), np.moveaxis(tissue, axis, 0)
        pairs = inside[step:] & inside[:-step]
        found.append(values[step:][pairs].astype(np.float32) - values[:-step][pairs].astype(np.float32))
    differences = np.concatenate(found) if found else np.zeros(0, dtype=np.float32)
    if len(differences) < _FEWEST_PAIRS:
        return None
    return float(_TO_SD * np.median(np.abs(differences - np.median(differences))))
