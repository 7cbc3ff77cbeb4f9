"""Metal in the chest wall or the spine: beam hardening between two rods makes dark bands and bright rays."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from segpipe.corruptions.noise import WATER_PER_MM
from segpipe.corruptions.planes import Floats, Planes

METAL_HU = 3071.0
"""Where the values of most scanners end."""
_METAL_PER_MM = 0.25
"""Attenuation of titanium at 70 keV (NIST)."""
_HARDENING = 0.05
"""What is lost of a squared attenuation when the beam has many energies."""
_APART_MM = (30.0, 60.0)
_ANGLES, _STEP_MM = 180, 1.0


class Point(NamedTuple):
    """Millimetres from the middle of a plane."""

    x: float
    y: float


def metal(planes: Planes, radius_mm: float, rng: np.random.Generator) -> Planes:
    """Two rods along the body, and what a reconstruction that knows of water alone makes of the rays through them.

    A beam of many energies measures p − β p² instead of an attenuation p. What the rays through metal lack by that is
    filtered and back-projected: dark between the rods, where a ray crosses both, and bright around (De Man et al., IEEE
    Transactions on Nuclear Science 46 (1999) 691-696).

    Args:
        planes: The scan.
        radius_mm: Of each rod.
        rng: Draws where they are: in the soft tissue of a whole scan, outside a crop on either side.
    """
    x_mm, y_mm = _positions(planes)
    rods = _places(planes, rng)
    image = planes.image_hu + _streaks(x_mm, y_mm, rods, radius_mm)[:, :, None]
    for rod in rods:
        image[np.hypot(x_mm[:, None] - rod[0], y_mm[None] - rod[1]) <= radius_mm] = METAL_HU
    return planes.with_values(image)


def _positions(planes: Planes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Millimetres from the middle of a plane, along x and along y."""
    x, y = (
        (np.arange(count) - (count - 1) / 2) * spacing
        for count, spacing in zip(planes.image_hu.shape[:2], planes.spacing_mm[:2], strict=True)
    )
    return x, y


def _places(planes: Planes, rng: np.random.Generator) -> list[Point]:
    """Where the rods are: one in soft tissue and one nearer to the middle, or one on each side of a crop."""
    (x_mm, y_mm), apart_mm = _positions(planes), rng.uniform(*_APART_MM)
    if not planes.is_whole:
        angle, reach = rng.uniform(0, 2 * np.pi), np.hypot(x_mm[-1], y_mm[-1]) + apart_mm / 4
        return [Point(side * reach * np.cos(angle), side * reach * np.sin(angle)) for side in (1, -1)]
    dense = np.argwhere(planes.image_hu.mean(axis=2) > 0)
    x, y = dense[rng.integers(len(dense))] if len(dense) else (0, len(y_mm) // 2)
    first = Point(x_mm[x], y_mm[y])
    share = apart_mm / max(float(np.hypot(*first)), apart_mm)
    return [first, Point(first.x * (1 - share), first.y * (1 - share))]


def _streaks(x_mm: NDArray[np.float64], y_mm: NDArray[np.float64], rods: list[Point], radius_mm: float) -> Floats:
    """The error of a plane in HU, back-projected on a grid of about a millimetre."""
    steps = [max(1, round(_STEP_MM / (axis[1] - axis[0]))) for axis in (x_mm, y_mm)]
    x, y = x_mm[:: steps[0]], y_mm[:: steps[1]]
    reach = float(np.hypot(np.abs(x_mm).max(), np.abs(y_mm).max())) + max(float(np.hypot(*rod)) for rod in rods)
    detector = np.arange(-reach, reach + _STEP_MM, _STEP_MM / 2)
    ramp = np.abs(np.fft.rfftfreq(2 * len(detector), _STEP_MM / 2))
    total = np.zeros((len(x), len(y)))
    for angle in np.arange(_ANGLES) * np.pi / _ANGLES:
        along = np.array([np.cos(angle), np.sin(angle)])
        chords = sum(_chord(detector - along @ np.array(rod), radius_mm) for rod in rods)
        lacking = -_HARDENING * (_METAL_PER_MM * chords) ** 2
        filtered = np.fft.irfft(np.fft.rfft(lacking, 2 * len(detector)) * ramp)[: len(detector)]
        total += np.interp(along[0] * x[:, None] + along[1] * y[None], detector, filtered)
    error_hu = 1000 / WATER_PER_MM * np.pi / _ANGLES * total
    places = np.meshgrid(np.arange(len(x_mm)) / steps[0], np.arange(len(y_mm)) / steps[1], indexing="ij")
    return np.asarray(ndimage.map_coordinates(error_hu, places, order=1, mode="nearest"), dtype=np.float32)


def _chord(offsets_mm: NDArray[np.float64], radius_mm: float) -> NDArray[np.float64]:
    """Length of each ray in a rod whose axis it misses by so much."""
    return np.asarray(2 * np.sqrt((radius_mm**2 - offsets_mm**2).clip(0)))
