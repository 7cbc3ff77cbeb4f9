"""What readers and detectors take for nodules, and what is none: drawn into a thorax, never over a nodule.

Source:
    Hansell et al. 2008, "Fleischner Society: glossary of terms for thoracic imaging", doi 10.1148/radiol.2462070712,
    for what bands, fissures, mucoid impaction and pleural plaques look like.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.canvas import Axes, cover
from segpipe.datasets.phantom.thorax import Thorax
from segpipe.datasets.phantom.vessels import HILUM_MM, Tubes, join, next_to, splat

Points = NDArray[np.float64]
Image = NDArray[np.float32]
Taken = Sequence[tuple[Points, float]]

APART_MM = 6.0
_PIECES = 16
_TRIES = 30
_FROM_HILUM_MM = 25.0
_OBLIQUE = (np.array([0.0, 0.66, 0.75]), np.array([0.0, 10.0, 5.0]))  # normal and a point of it, in mm
_HORIZONTAL = (np.array([0.0, -0.1, 0.99]), np.array([0.0, 30.0, 22.0]))
_FISSURE_MM = 0.7


def add_distractors(
    thorax: Thorax, vessels: Tubes, axes: Axes, taken: Taken, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Draws distractors into the lungs.

    Args:
        thorax: Changed in place, in the lungs alone.
        vessels: Those of the lungs.
        axes: Of the thorax.
        taken: Centre and radius of each nodule; no distractor but a fissure comes near one.
        rng: Of kinds, places and sizes.

    Returns:
        Kind and centre in mm of each but the fissures, which every lung has.
    """
    facts: list[dict[str, Any]] = []
    for kind, (most, hu, draw) in _KINDS.items():
        drawn = [draw(thorax, vessels, axes, rng) for _ in range(int(rng.integers(1, most + 1)))]
        free = [tubes for tubes in drawn if _is_free(tubes.centre, taken)]
        if free:
            density = rng.normal(hu, 0.1 * abs(hu) + 5)
            _paint(thorax, splat(join(free), axes), density)
            facts += [{"kind": kind, "centre_mm": tubes.centre.mean(axis=0)} for tubes in free]
    facts += _add_thickenings(thorax, axes, taken, rng)
    _add_fissures(thorax, axes, taken, rng)
    return facts


def _paint(thorax: Thorax, share: Image, hu: float, *, box: tuple[slice, ...] = ()) -> None:
    """Adds what is denser than what is there, in the lungs alone; `share` is of the box, by default of everything."""
    image = thorax.hu[box]
    image += share * thorax.lung[box] * np.maximum(np.float32(hu) - image, 0)


def _near(offsets_mm: Points, reach_mm: float) -> slice:
    """The voxels of a line that lie within a reach."""
    inside = np.flatnonzero(np.abs(offsets_mm) <= reach_mm)
    return slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)


def _is_free(points: Points, taken: Taken) -> bool:
    return all(np.linalg.norm(points - centre, axis=1).min() > 1.3 * radius + APART_MM for centre, radius in taken)


def _blunt_vessel(thorax: Thorax, vessels: Tubes, axes: Axes, rng: np.random.Generator) -> Tubes:
    """A branch that leaves a vessel and ends without getting thinner: round where a slice cuts it."""
    index = rng.choice(np.flatnonzero((vessels.radius > 0.8) & (vessels.radius < 2.0)))
    heading = np.cross(vessels.direction[index], rng.standard_normal(3))
    radius = np.full(_PIECES, vessels.radius[index] * rng.uniform(0.8, 1.2))
    return _strand(vessels.centre[index], heading, rng.uniform(6, 14), radius)


def _scar(thorax: Thorax, vessels: Tubes, axes: Axes, rng: np.random.Generator) -> Tubes:
    """A band from the pleura inwards, one to three millimetres thick and up to three centimetres long."""
    start = _point(thorax, axes, (0.5, 2.0), rng)
    inwards = np.array([np.copysign(60.0, start[0]), -5.0, start[2]]) - start
    heading = inwards / np.linalg.norm(inwards) + 0.4 * rng.standard_normal(3)
    radius = rng.uniform(0.5, 1.4) * rng.uniform(0.7, 1.3, _PIECES)
    return _strand(start, heading, rng.uniform(10, 30), radius)


def _mucus(thorax: Thorax, vessels: Tubes, axes: Axes, rng: np.random.Generator) -> Tubes:
    """A stretch of an airway, next to its vessel, filled and widened."""
    airways = next_to(vessels)
    first = int(rng.integers(len(airways.radius)))
    run = np.arange(first, min(first + int(rng.integers(8, 20)), len(airways.radius)))
    apart = np.linalg.norm(np.diff(airways.centre[run], axis=0), axis=1) > 2.0
    some = np.zeros(len(airways.radius), dtype=np.bool_)
    some[run[: 1 + int(np.argmax(apart)) if apart.any() else len(run)]] = True
    part = airways.part(some)
    return Tubes(part.centre, part.direction, np.minimum(part.radius * rng.uniform(1.0, 1.3), 3.0), part.length)


def _granuloma(thorax: Thorax, vessels: Tubes, axes: Axes, rng: np.random.Generator) -> Tubes:
    """A calcified grain of two to five millimetres."""
    radius = rng.uniform(1.0, 2.5)
    t = (np.arange(_PIECES) + 0.5) / _PIECES * 2 - 1
    heading = np.tile([0.0, 0.0, 1.0], (_PIECES, 1))
    centre = _point(thorax, axes, (4.0, np.inf), rng) + heading * (t * radius)[:, None]
    return Tubes(centre, heading, radius * np.sqrt(1 - t**2), np.full(_PIECES, 2 * radius / _PIECES))


Draw = Callable[[Thorax, Tubes, Axes, np.random.Generator], Tubes]
_KINDS: dict[str, tuple[int, float, Draw]] = {  # the most of each, HU, and how it is drawn
    "blunt vessel": (10, 40.0, _blunt_vessel),
    "scar": (4, 10.0, _scar),
    "mucus": (4, 15.0, _mucus),
    "calcified granuloma": (3, 600.0, _granuloma),
}


def _strand(start: Points, heading: Points, length: float, radius: NDArray[np.float64]) -> Tubes:
    """A straight strand in pieces, each of its own radius."""
    heading = heading / np.linalg.norm(heading)
    t = (np.arange(len(radius)) + 0.5) / len(radius) * length
    along = np.tile(heading, (len(radius), 1))
    return Tubes(start + t[:, None] * along, along, radius, np.full(len(radius), length / len(radius)))


def _point(thorax: Thorax, axes: Axes, depth_mm: tuple[float, float], rng: np.random.Generator) -> Points:
    """A point of the lungs so deep under the pleura and away from the hila."""
    depth = thorax.depth_mm[::2, ::3, ::3]
    indices: NDArray[np.int64] = np.argwhere((depth > depth_mm[0]) & (depth < depth_mm[1])) * np.array([2, 3, 3])
    points = axes.to_mm(indices[rng.integers(len(indices), size=_TRIES)])
    beside = np.stack([np.abs(points[:, 0]), points[:, 1], points[:, 2]], axis=1)
    far = np.linalg.norm(beside - HILUM_MM, axis=1) > _FROM_HILUM_MM
    return np.asarray(points[int(np.argmax(far))], dtype=np.float64)


def _add_thickenings(thorax: Thorax, axes: Axes, taken: Taken, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Plaques: lenses of soft tissue on the pleura."""
    facts = []
    for _ in range(int(rng.integers(1, 4))):
        centre, radius, height = _point(thorax, axes, (0.3, 2.0), rng), rng.uniform(6, 14), rng.uniform(1.5, 4.0)
        if _is_free(centre[None], [(point, size + radius) for point, size in taken]):
            x, y, z = axes.x - centre[0], axes.y - centre[1], axes.z - centre[2]
            box = tuple(_near(line.ravel(), radius) for line in (z, x, y))
            x, y, z = x[box[1]], y[:, box[2]], z[box[0]]
            level = (x[None] ** 2 + y[None] ** 2 + z[:, None, None] ** 2) / np.float32(radius**2)
            lens = np.float32(height) * np.maximum(1 - level, 0)
            share = np.where(level < 1, cover(thorax.depth_mm[box] - lens, axes.edge_mm), 0).astype(np.float32)
            _paint(thorax, share, 35.0, box=box)
            facts.append({"kind": "pleural thickening", "centre_mm": centre})
    return facts


def _add_fissures(thorax: Thorax, axes: Axes, taken: Taken, rng: np.random.Generator) -> None:
    """Sheets between the lobes, as thin as they are, that pass nodules by."""
    share = np.maximum(_sheet(axes, *_OBLIQUE, rng), _sheet(axes, *_HORIZONTAL, rng) * _upper_right(axes))
    for centre, radius in taken:
        x, y, z = axes.x - centre[0], axes.y - centre[1], axes.z - centre[2]
        share *= (x[None] ** 2 + y[None] ** 2 + z[:, None, None] ** 2) > (1.6 * radius + 1) ** 2
    _paint(thorax, share, 20.0)


def _sheet(axes: Axes, normal: Points, point: Points, rng: np.random.Generator) -> Image:
    """Share of each voxel in a wavy sheet of `_FISSURE_MM`."""
    wave = 3.0 * np.sin(axes.x / rng.uniform(12, 20) + rng.uniform(0, 6)) + 2.0 * np.sin(axes.y / rng.uniform(12, 20))
    flat = normal[0] * (axes.x - point[0]) + normal[1] * (axes.y - point[1]) + wave
    distance = flat[None] + (normal[2] * (axes.z - point[2]))[:, None, None]
    width = float(np.abs(normal) @ axes.step_mm)
    share = np.maximum(1 - np.abs(distance) / width, 0) * (_FISSURE_MM / width)
    return np.asarray(share, dtype=np.float32)


def _upper_right(axes: Axes) -> NDArray[np.bool_]:
    """Where the right lung lies in front of its oblique fissure."""
    normal, point = _OBLIQUE
    ahead = normal[1] * (axes.y - point[1])[None] + normal[2] * (axes.z - point[2])[:, None, None] > 0
    return np.asarray(ahead & (axes.x > 0)[None], dtype=np.bool_)
