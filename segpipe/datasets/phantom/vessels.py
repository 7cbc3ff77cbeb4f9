"""Grows the lungs' vessels and airways as branching trees and draws them with exact partial volume."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segpipe.datasets.phantom.canvas import AIR_HU, Axes
from segpipe.datasets.phantom.thorax import Thorax

Points = NDArray[np.float64]
HILUM_MM = (30.0, -8.0, 4.0)
TIPS = 420
TIP_RADIUS_MM = 0.52
WIDEST_MM = 3.5  # radius of a lobar branch; wider ones lie in the mediastinum
BRANCHING = 2.7  # radius^2.7 is shared among branches (Murray: 3; measured in lungs: 2.3 to 3)
PATH_WEIGHT = 0.4
_PIECE_MM = 0.7


@dataclass(frozen=True, eq=False)
class Tree:
    """A branching tree: node i hangs on node `parent[i]` < i; node 0 is the root.

    Args:
        nodes: (n, 3) in mm.
        parent: (n,); the root's is 0.
        radius_mm: (n,) of the branch that ends in a node.
    """

    nodes: Points
    parent: NDArray[np.int64]
    radius_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tubes:
    """Short pieces of tubes: centre (n, 3), direction (n, 3), radius and length (n,), all in mm."""

    centre: Points
    direction: Points
    radius: NDArray[np.float64]
    length: NDArray[np.float64]

    def part(self, some: NDArray[np.bool_]) -> "Tubes":
        """The chosen pieces."""
        return Tubes(self.centre[some], self.direction[some], self.radius[some], self.length[some])


def grow_tree(root: Points, tips: Points) -> Tree:
    """Joins tips to the root one by one, nearest first, each where wire and way back are shortest.

    Source: Cuntz et al. 2010, "One rule to grow them all", doi 10.1371/journal.pcbi.1000877.
    """
    order = np.argsort(np.linalg.norm(tips - root, axis=1))
    nodes = np.concatenate([root[None], tips[order]])
    parent = np.zeros(len(nodes), dtype=np.int64)
    way = np.zeros(len(nodes))
    for i in range(1, len(nodes)):
        wire = np.linalg.norm(nodes[:i] - nodes[i], axis=1)
        parent[i] = np.argmin(wire + PATH_WEIGHT * way[:i])
        way[i] = way[parent[i]] + wire[parent[i]]
    return Tree(nodes, parent, np.minimum(_radii(parent), WIDEST_MM))


def follow(tree: Tree) -> Tubes:
    """Cuts all branches into pieces of about `_PIECE_MM` along smooth curves."""
    headings = _headings(tree)
    span = np.linalg.norm(tree.nodes - tree.nodes[tree.parent], axis=1)
    steps = 2 ** np.ceil(np.log2(np.maximum(span / _PIECE_MM, 1))).astype(int)
    ends = np.arange(len(span)) > 0
    return join([_curves(tree, headings, np.flatnonzero(ends & (steps == count)), count) for count in np.unique(steps)])


def join(tubes: list[Tubes]) -> Tubes:
    """All pieces together."""
    return Tubes(
        np.concatenate([part.centre for part in tubes]),
        np.concatenate([part.direction for part in tubes]),
        np.concatenate([part.radius for part in tubes]),
        np.concatenate([part.length for part in tubes]),
    )


def splat(tubes: Tubes, axes: Axes) -> NDArray[np.float32]:
    """Share of each voxel (z, x, y) that tubes fill, thinner than a voxel or thicker; at most 1."""
    points, volumes = _fill_sections(tubes, axes)
    index = axes.to_index(points)
    keep = np.all((index >= 0) & (index < np.array(axes.shape) - 1.001), axis=1)
    index, volumes = index[keep], volumes[keep] / np.prod(axes.step_mm)
    low = np.floor(index).astype(np.int64)
    part = index - low
    _, nx, ny = axes.shape
    flat, weight = [], []
    for corner in np.ndindex(2, 2, 2):
        i = low + corner
        flat.append((i[:, 0] * nx + i[:, 1]) * ny + i[:, 2])
        weight.append(volumes * np.prod(np.where(corner, part, 1 - part), axis=1))
    total = np.bincount(np.concatenate(flat), np.concatenate(weight), minlength=int(np.prod(axes.shape)))
    return np.minimum(total, 1.0).astype(np.float32).reshape(axes.shape)


def add_vessels(thorax: Thorax, axes: Axes, rng: np.random.Generator, *, blood_hu: float) -> Tubes:
    """Draws arteries, veins and airways of both lungs into a thorax; returns the vessels' pieces."""
    arteries, veins, airways = [], [], []
    for side in (-1, 1):
        tips = _tips(thorax, axes, rng, side)
        artery = grow_tree(np.array([side * HILUM_MM[0], *HILUM_MM[1:]]), tips[:TIPS])
        arteries.append(follow(artery))
        veins.append(follow(grow_tree(np.array([side * 24.0, -4.0, -16.0]), tips[TIPS:])))
        airways.append(next_to(arteries[-1]))
    vessels = join(arteries + veins)
    hu = min(blood_hu, 200.0)
    lung = thorax.lung
    _mix(thorax.hu, splat(vessels, axes) * np.maximum(lung, 0.0), hu)
    outer = join(airways)
    _mix(thorax.hu, splat(outer, axes) * lung, 10.0)
    inner = Tubes(outer.centre, outer.direction, outer.radius * 0.72, outer.length)
    _mix(thorax.hu, splat(inner, axes), AIR_HU + 15)
    return vessels


def _mix(image: NDArray[np.float32], share: NDArray[np.float32], hu: float) -> None:
    image += share * (np.float32(hu) - image)


def _tips(thorax: Thorax, axes: Axes, rng: np.random.Generator, side: int) -> Points:
    """Ends of vessels, spread evenly through one lung but for its outermost millimetres."""
    coarse = (slice(None, None, 2), slice(None, None, 3), slice(None, None, 3))
    inside = np.argwhere(thorax.depth_mm[coarse] > rng.uniform(3, 5)) * [2, 3, 3]
    inside = inside[axes.x[inside[:, 1], 0] * side > 0]
    chosen = inside[rng.permutation(len(inside))[: 2 * TIPS]]
    return axes.to_mm(chosen) + rng.uniform(-1.5, 1.5, (len(chosen), 3))


def _curves(tree: Tree, headings: Points, ends: NDArray[np.int64], steps: int) -> Tubes:
    """Cubic Hermite curves from the parents of some nodes to these nodes, in equal steps."""
    starts = tree.parent[ends]
    p, q = tree.nodes[starts], tree.nodes[ends]
    span = np.linalg.norm(q - p, axis=1, keepdims=True)
    straight = (q - p) / np.maximum(span, 1e-6)
    u, v = (0.4 * headings[starts] + 0.6 * straight) * span, headings[ends] * span
    t = ((np.arange(steps) + 0.5) / steps)[:, None, None]
    centre = (2 * t**3 - 3 * t**2 + 1) * p + (t**3 - 2 * t**2 + t) * u + (3 * t**2 - 2 * t**3) * q + (t**3 - t**2) * v
    along = (6 * t**2 - 6 * t) * (p - q) + (3 * t**2 - 4 * t + 1) * u + (3 * t**2 - 2 * t) * v
    length = np.linalg.norm(along, axis=2)
    first = np.minimum(tree.radius_mm[starts], 1.3 * tree.radius_mm[ends])
    radius = first + (tree.radius_mm[ends] - first) * t[:, :, 0]
    direction = along / np.maximum(length, 1e-6)[:, :, None]
    return Tubes(centre.reshape(-1, 3), direction.reshape(-1, 3), radius.ravel(), length.ravel() / steps)


def _radii(parent: NDArray[np.int64]) -> NDArray[np.float64]:
    children = np.bincount(parent[1:], minlength=len(parent))
    power = np.where(children == 0, TIP_RADIUS_MM**BRANCHING, 0.0)
    for i in range(len(parent) - 1, 0, -1):
        power[parent[i]] += power[i]
    return np.asarray(power ** (1 / BRANCHING), dtype=np.float64)


def _headings(tree: Tree) -> Points:
    """Where a branch heads at its end: half its own way, half that of its thickest continuation."""
    own = tree.nodes - tree.nodes[tree.parent]
    own /= np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-6)
    heading = own.copy()
    thickest = np.zeros(len(own))
    for i in range(1, len(own)):
        p = tree.parent[i]
        if tree.radius_mm[i] > thickest[p]:
            thickest[p] = tree.radius_mm[i]
            heading[p] = own[p] + own[i]
    heading /= np.maximum(np.linalg.norm(heading, axis=1, keepdims=True), 1e-6)
    return heading


def next_to(artery: Tubes) -> Tubes:
    """The airway that runs next to an artery, as far as one would see it."""
    wide = artery.part(artery.radius > 1.25)
    aside = np.cross(wide.direction, [0.3, 0.2, 0.93])
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 0.3)
    return Tubes(wide.centre + aside * (2.0 * wide.radius)[:, None], wide.direction, wide.radius, wide.length)


def _fill_sections(tubes: Tubes, axes: Axes) -> tuple[Points, NDArray[np.float64]]:
    """Points that fill the tubes evenly and the volume in mm³ that each stands for."""
    spacing = 0.6 * min(axes.step_mm)
    wanted = np.clip(np.ceil(np.pi * (tubes.radius / spacing) ** 2), 1, 256)
    level = np.ceil(np.log2(wanted)).astype(int)
    points, volumes = [], []
    for power in np.unique(level):
        count, some = 2**power, level == power
        disc = _sunflower(count)
        across, up = _frame(tubes.direction[some])
        radius = tubes.radius[some][:, None, None]
        offset = (across[:, None] * disc[None, :, :1] + up[:, None] * disc[None, :, 1:]) * radius
        points.append((tubes.centre[some][:, None] + offset).reshape(-1, 3))
        volume = np.pi * tubes.radius[some] ** 2 * tubes.length[some] / count
        volumes.append(np.repeat(volume, count))
    return np.concatenate(points), np.concatenate(volumes)


def _sunflower(count: int) -> Points:
    """Evenly spread points of the unit disc."""
    i = np.arange(count) + 0.5
    turn = i * np.pi * (3 - np.sqrt(5))
    return np.stack([np.cos(turn), np.sin(turn)], axis=1) * np.sqrt(i / count)[:, None]


def _frame(direction: Points) -> tuple[Points, Points]:
    """Two directions across each direction."""
    helper = np.where(np.abs(direction[:, 2:]) < 0.8, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    across = np.cross(direction, helper)
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
    return across, np.cross(direction, across)
