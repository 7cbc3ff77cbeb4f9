"""Quantum noise: how strong it is in a scan, how it is spread over a plane and over frequencies, and more of it."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.corruptions.planes import Floats, Planes

PEAK_PER_MM = 0.3
"""Where the noise of body kernels is strongest: Solomon, Christianson & Samei, Medical Physics 39 (2012) 6048-6055."""
WATER_PER_MM = 0.0193
"""Attenuation of water at 70 keV, about the mean energy of 120 kVp (NIST)."""
_COARSE_MM, _ANGLES = 6.0, 16
_LARGEST_PATH = 7.0
_TYPICAL_HU = 15.0
_FEWEST = 500
_SOFT_HU = (-20.0, 120.0)
_LAPLACIAN = np.outer([1.0, -2.0, 1.0], [1.0, -2.0, 1.0])


def lower_dose(planes: Planes, fraction: float, rng: np.random.Generator) -> Planes:
    """The scan at a part of its dose: the variance of the noise goes with one over the dose.

    The noise has the spectrum of filtered back-projection with a body kernel, and in each place the strength that the
    rays through it have lost: the variance there is the mean over all angles of exp(attenuation) (Kak & Slaney,
    Principles of Computerized Tomographic Imaging, section 5.2).

    Args:
        planes: The scan.
        fraction: Of the scan's own dose, 0…1.
        rng: Draws the noise.
    """
    deviation = measure_noise(planes) * np.sqrt(1 / fraction - 1)
    texture = _draw(planes, quantum_spectrum(*planes.frequencies), rng)
    return planes.with_values(planes.image_hu + deviation * np.sqrt(spread_variance(planes)) * texture)


def arms_down(planes: Planes, path_mm: float, rng: np.random.Generator) -> Planes:
    """Arms beside the chest: rays from side to side are lost in them, and their noise becomes streaks from arm to arm.

    By the projection-slice theorem those rays carry the frequencies from front to back, which get exp(attenuation)
    times their noise; over about 20° to either side this falls off.

    Args:
        planes: The scan, with its arms raised.
        path_mm: Tissue of both arms that a ray from side to side crosses.
        rng: Draws the noise.
    """
    x, y = planes.frequencies
    angle = np.arctan2(np.abs(x), np.abs(y))
    through = path_mm * np.exp(-((angle / np.deg2rad(20)) ** 2))
    quantum = quantum_spectrum(x, y)
    more = quantum * (np.exp(WATER_PER_MM * through) - 1)
    share = np.sqrt(more.sum() / quantum.sum())
    return planes.with_values(planes.image_hu + measure_noise(planes) * share * _draw(planes, more, rng))


def measure_noise(planes: Planes) -> float:
    """Standard deviation of the noise in HU, from differences between neighbours in soft tissue.

    Structures of any slope cancel in them. Where there is next to no soft tissue, or no noise at all, it is 15 HU.

    Source: Immerkær, Computer Vision and Image Understanding 64 (1996) 300-302, by a median instead of a mean.
    """
    low, high = _SOFT_HU
    smooth = ndimage.uniform_filter(planes.image_hu, (5, 5, 1))
    soft = (smooth > low) & (smooth < high)
    soft = ndimage.binary_erosion(soft, np.ones((5, 5, 1)))
    if np.count_nonzero(soft) < _FEWEST:
        return _TYPICAL_HU
    rough = ndimage.convolve(planes.image_hu, _LAPLACIAN[:, :, None], mode="nearest")[soft]
    gain = _roughness(planes)
    return float(np.median(np.abs(rough)) * 1.4826 / gain) or _TYPICAL_HU


def quantum_spectrum(x_per_mm: Floats, y_per_mm: Floats) -> Floats:
    """Power of the noise: the ramp of back-projection and a smooth end, largest at `PEAK_PER_MM`."""
    ratio = np.hypot(x_per_mm, y_per_mm) / PEAK_PER_MM
    return np.asarray(ratio * np.exp(0.5 - 0.5 * ratio**2), dtype=np.float32)


def spread_variance(planes: Planes) -> Floats:
    """How much more or less variance than elsewhere the noise has in each place; its mean over the body is 1."""
    steps = [max(1, round(_COARSE_MM / spacing)) for spacing in planes.spacing_mm[:2]]
    coarse = ndimage.uniform_filter(planes.image_hu, (*steps, 1))[:: steps[0], :: steps[1]]
    step_mm = steps[0] * planes.spacing_mm[0]
    attenuation = (WATER_PER_MM * (1 + coarse.clip(-1000, 2000) / 1000)).astype(np.float32)
    variance = np.mean([_lost(attenuation, angle, step_mm) for angle in np.arange(_ANGLES) * 180 / _ANGLES], axis=0)
    body = coarse > -700
    variance /= variance[body].mean() if body.any() else variance.mean()
    x, y = planes.image_hu.shape[:2]
    factors = (x / variance.shape[0], y / variance.shape[1], 1)
    return np.asarray(ndimage.zoom(variance, factors, order=1, mode="nearest", grid_mode=True), dtype=np.float32)


def _lost(attenuation: Floats, degrees: float, step_mm: float) -> Floats:
    """exp(attenuation) of the ray of one angle through each place."""
    turn = {"axes": (0, 1), "reshape": False, "order": 1}
    rays = ndimage.rotate(attenuation, degrees, **turn, mode="constant").sum(axis=0, keepdims=True) * step_mm
    lost = np.broadcast_to(np.exp(rays.clip(0, _LARGEST_PATH)), attenuation.shape)
    return np.asarray(ndimage.rotate(lost, -degrees, **turn, mode="nearest"))


def _draw(planes: Planes, power: NDArray[np.floating], rng: np.random.Generator) -> Floats:
    """Noise of mean 0 and deviation 1 with this power spectrum, plane by plane."""
    white = rng.standard_normal(planes.image_hu.shape, dtype=np.float32)
    amplitude = np.sqrt(power / _mean_power(planes, power))
    return (
        planes.with_values(white)
        .mapped(lambda plane: np.fft.irfft2(np.fft.rfft2(plane) * amplitude, s=plane.shape))
        .image_hu
    )


def _mean_power(planes: Planes, power: NDArray[np.floating]) -> float:
    """Mean over the whole spectrum, of which the real transform holds one half and its middle lines."""
    count = planes.image_hu.shape[1]
    twice = np.full(power.shape[1], 2.0)
    twice[0] = 1
    if count % 2 == 0:
        twice[-1] = 1
    return float((power * twice).sum() / (power.shape[0] * count))


def _roughness(planes: Planes) -> float:
    """Standard deviation of the differences of noise with the quantum spectrum and a deviation of 1."""
    x, y = (frequency * spacing for frequency, spacing in zip(planes.frequencies, planes.spacing_mm[:2], strict=True))
    response = (2 - 2 * np.cos(2 * np.pi * x)) ** 2 * (2 - 2 * np.cos(2 * np.pi * y)) ** 2
    power = quantum_spectrum(*planes.frequencies)
    return float(np.sqrt(_mean_power(planes, power * response) / _mean_power(planes, power)))
