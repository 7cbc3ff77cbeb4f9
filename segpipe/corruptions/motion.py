"""A patient who moves while the gantry turns."""

import numpy as np

from segpipe.corruptions.planes import Planes, filter_planes, padded


def motion(planes: Planes, shift_mm: float, rng: np.random.Generator) -> Planes:
    """The body moves evenly by `shift_mm` during half a turn, in a direction in the plane that `rng` draws.

    By the projection-slice theorem the projection at an angle holds a plane's frequencies along that angle, so these
    get the phase of the position that the body had then. Contours that the first and the last angle see are doubled.
    """
    direction, start = rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi)
    x, y = padded(planes).frequencies
    angle = np.mod(np.arctan2(y, x) - start, np.pi) / np.pi  # of a frequency and its opposite alike
    moved = (angle - 0.5) * shift_mm
    phase = np.exp(-2j * np.pi * moved * (x * np.cos(direction) + y * np.sin(direction)))
    return filter_planes(planes, phase.astype(np.complex64))
