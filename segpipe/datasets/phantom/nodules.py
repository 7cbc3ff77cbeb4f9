"""Nodules: what they are made of, what shape they have, and how they are drawn into a thorax."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.canvas import Axes
from segpipe.datasets.phantom.population import Population
from segpipe.datasets.phantom.thorax import Thorax
from segpipe.datasets.phantom.vessels import Tubes, splat

Texture = Literal["solid", "part-solid", "ground-glass"]
Shape = Literal["spherical", "lobulated", "spiculated"]
Points = NDArray[np.float64]

SPICULATED_FROM_MM = 8.0
CORE_HU = 20.0
TEXTURES: tuple[Texture, ...] = ("solid", "part-solid", "ground-glass")


@dataclass(frozen=True, eq=False)
class Nodule:
    """One nodule, centred at the origin.

    Args:
        diameter_mm: Of the sphere of the same volume, where no pleura cuts it.
        texture: What it is made of.
        shape: Its outline.
        hu: Density of its main part.
        lobes: (n, 3) directions of length 1.
        heights: (n,) of the lobes, relative to the radius.
        sharpness: Of the lobes.
        core_mm: Centre and radius of the solid core; the radius is 0 unless it is part-solid.
    """

    diameter_mm: float
    texture: Texture
    shape: Shape
    hu: float
    lobes: Points
    heights: NDArray[np.float64]
    sharpness: float
    core_mm: tuple[Points, float]

    @property
    def radius_mm(self) -> float:
        """Half the diameter."""
        return self.diameter_mm / 2

    def facts(self) -> dict[str, Any]:
        """The truth about it, for the data set."""
        return {"diameter_mm": round(self.diameter_mm, 2), "texture": self.texture, "shape": self.shape}

    def reach(self, directions: Points) -> NDArray[np.float64]:
        """Distance in mm from the centre to the surface in directions (n, 3) of length 1."""
        mean = np.mean(self._outline(_SPHERE) ** 3) ** (1 / 3)
        return self._outline(directions) * (self.radius_mm / mean)

    def _outline(self, directions: Points) -> NDArray[np.float64]:
        bumps = np.exp(self.sharpness * (directions @ self.lobes.T - 1)) @ self.heights
        return np.asarray(1 + bumps, dtype=np.float64)


def draw_nodule(rng: np.random.Generator, population: Population, *, smallest_mm: float) -> Nodule:
    """A nodule of a size, texture and shape as the population has them."""
    diameter = population.diameter_mm(rng, smallest_mm)
    subsolid = diameter >= population.subsolid_from_mm
    texture = TEXTURES[rng.choice(3, p=population.texture_shares)] if subsolid else "solid"
    shapes: tuple[Shape, ...] = ("spherical", "lobulated", "spiculated")
    spiky = diameter >= SPICULATED_FROM_MM and texture != "ground-glass"
    shape = shapes[rng.choice(3, p=[0.4, 0.33, 0.27] if spiky else [0.6, 0.4, 0.0])]
    hu = rng.normal(35, 15) if texture == "solid" else rng.uniform(-520, -340)
    core = float(rng.uniform(0.4, 0.65) * diameter / 2) if texture == "part-solid" else 0.0
    centre = rng.uniform(-1, 1, 3) * 0.1 * diameter
    return Nodule(diameter, texture, shape, float(hu), *_draw_outline(rng, shape), (centre, core))


def add_nodule(
    thorax: Thorax, nodule: Nodule, centre: Points, axes: Axes, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draws a nodule into the lungs around a centre in mm.

    Returns:
        The voxels (z, x, y) whose centre lies inside it; where there is none, the one that holds most of it.
    """
    box, points = _box(nodule, centre, axes)
    share, core, inside = _shares(nodule, points, axes)
    lung = thorax.lung[box]
    hu = thorax.hu[box]
    if nodule.texture == "solid":
        hu += share * lung * (np.float32(nodule.hu) - hu)
    else:  # lung tissue and vessels show through
        hu += share * lung * np.maximum(np.float32(nodule.hu) - hu, 0)
        hu += core * lung * np.maximum(np.float32(CORE_HU) - hu, 0)
    if nodule.shape == "spiculated":
        _add_spicules(thorax, nodule, centre, axes, rng)
    seen = inside & (lung >= 0.5)
    mask = np.zeros(axes.shape, dtype=bool)
    mask[box] = seen if seen.any() else share * lung == np.max(share * lung)
    return mask


def solid_part(nodule: Nodule, centre: Points, axes: Axes) -> NDArray[np.bool_]:
    """The voxels (z, x, y) around a nodule whose centre lies in its solid part: all of a solid one, else its core."""
    box, points = _box(nodule, centre, axes)
    core_mm, radius_mm = nodule.core_mm
    mask = np.zeros(axes.shape, dtype=bool)
    mask[box] = nodule.texture == "solid" or np.linalg.norm(points - core_mm, axis=-1) < radius_mm
    return mask


def sphere(count: int) -> Points:
    """Evenly spread directions (count, 3) of length 1."""
    i = np.arange(count) + 0.5
    z, turn = 1 - 2 * i / count, i * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z**2)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)


_SPHERE = sphere(500)


def _draw_outline(rng: np.random.Generator, shape: Shape) -> tuple[Points, NDArray[np.float64], float]:
    count, low, high, sharpness = {
        "spherical": (4, -0.10, 0.10, 1.5),
        "lobulated": (int(rng.integers(3, 7)), 0.25, 0.75, 6.0),
        "spiculated": (int(rng.integers(9, 16)), 0.15, 0.45, 18.0),
    }[shape]
    lobes = rng.standard_normal((count, 3))
    lobes /= np.linalg.norm(lobes, axis=1, keepdims=True)
    return lobes, rng.uniform(low, high, count), sharpness


def _box(nodule: Nodule, centre: Points, axes: Axes) -> tuple[tuple[slice, slice, slice], Points]:
    """The voxels around a nodule and their centres relative to the nodule's, (z, x, y, 3) as x, y, z."""
    reach = float(nodule.reach(_SPHERE).max()) * 1.05 + max(axes.step_mm)
    low = np.clip(np.floor(axes.to_index((centre - reach)[None])[0]), 0, None).astype(int)
    high = np.minimum(np.ceil(axes.to_index((centre + reach)[None])[0]) + 1, axes.shape).astype(int)
    z, x, y = (slice(a, b) for a, b in zip(low, high, strict=True))
    lines = (axes.z[z] - centre[2], axes.x[x, 0] - centre[0], axes.y[0, y] - centre[1])
    dz, dx, dy = np.meshgrid(*lines, indexing="ij")
    return (z, x, y), np.stack([dx, dy, dz], axis=-1).astype(np.float64)


def _shares(
    nodule: Nodule, points: Points, axes: Axes
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Share of each voxel in the nodule and in its core, by sampling, and whether its centre is in the nodule."""
    thirds, halves = (np.arange(3) - 1) / 3, (np.arange(2) - 0.5) / 2
    offsets = np.stack(np.meshgrid(halves, halves, thirds, indexing="ij"), axis=-1).reshape(-1, 3) * axes.step_mm
    samples = points[..., None, :] + offsets
    distance, reach = _surface(nodule, samples)
    share = (distance < reach) * (
        1.0 if nodule.texture == "solid" else 0.7 + 0.3 * np.clip((reach - distance) / (0.3 * nodule.radius_mm), 0, 1)
    )
    centre, radius = nodule.core_mm
    core = np.linalg.norm(samples - centre, axis=-1) < radius
    inside, limit = _surface(nodule, points)
    return share.mean(-1).astype(np.float32), core.mean(-1).astype(np.float32), inside < limit


def _surface(nodule: Nodule, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of points (…, 3) from the centre, and of the surface in their direction."""
    distance = np.linalg.norm(points, axis=-1)
    directions = points / np.maximum(distance, 1e-6)[..., None]
    return distance, nodule.reach(directions.reshape(-1, 3)).reshape(distance.shape)


def _add_spicules(thorax: Thorax, nodule: Nodule, centre: Points, axes: Axes, rng: np.random.Generator) -> None:
    """Thin strands that leave the surface; they are part of the image, not of the nodule."""
    count = int(rng.integers(14, 26))
    heading = rng.standard_normal((count, 3))
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    start = 0.9 * nodule.reach(heading)
    length = rng.uniform(0.4, 1.0, count) * nodule.radius_mm + 1.5
    t = ((np.arange(12) + 0.5) / 12)[:, None]
    way = (start + t * length)[..., None] * heading + centre
    radius = np.broadcast_to(np.linspace(0.9, 0.35, 12)[:, None], (12, count))
    pieces = Tubes(
        way.reshape(-1, 3), np.tile(heading, (12, 1)), radius.ravel(), np.broadcast_to(length / 12, (12, count)).ravel()
    )
    hu = thorax.hu
    hu += splat(pieces, axes) * thorax.lung * np.maximum(0 - hu, 0)
