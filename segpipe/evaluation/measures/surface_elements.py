"""The area of the surface that passes between the eight voxels of a 2×2×2 block, for each way to fill them.

The surface crosses the edges of the block in their middles, as in marching cubes. Where a face is ambiguous the rarer
kind of voxel is cut apart, so that a mask and its complement have the same surface. Polygons that are not flat are
split from the corner that gives the largest area in a cubic block. These choices give the areas of the surface-distance
package and of MONAI to the last digit; `tests/evaluation/measures/test_surface.py` holds them to each other.

Source:
    Lorensen and Cline, Marching Cubes, SIGGRAPH 1987; Nikolov et al., arXiv 1809.04430 (surface Dice).
"""

from functools import cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

Corner = tuple[float, float, float]
CORNERS: tuple[tuple[int, int, int], ...] = tuple(product((0, 1), repeat=3))  # type: ignore[arg-type]


def surfel_areas(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Area in mm² for each of the 256 codes; bit i of a code says whether `CORNERS[i]` is foreground."""
    triangles = _triangles()
    normals = np.cross(triangles[:, :, 0] * spacing_mm, triangles[:, :, 1] * spacing_mm)
    return np.asarray(np.linalg.norm(normals, axis=-1).sum(axis=1) / 2, dtype=np.float64)


@cache
def _triangles() -> NDArray[np.float64]:
    """Two sides of each triangle of each code: (256, 4, 2, 3), padded with zeros."""
    table = np.zeros((256, 4, 2, 3))
    for code in range(256):
        inside = {corner: bool(code >> bit & 1) for bit, corner in enumerate(CORNERS)}
        sides = [side for polygon in _polygons(inside) for side in _split(polygon)]
        if sides:
            table[code, : len(sides)] = sides
    return table


def _polygons(inside: dict[tuple[int, int, int], bool]) -> list[list[Corner]]:
    """Closed lines over the faces of the block, as lists of edge middles."""
    neighbours: dict[Corner, list[Corner]] = {}
    rarer = sum(inside.values()) <= 4
    for axis, side in product(range(3), (0, 1)):
        for one, other in _face_lines(axis, side, inside, rarer):
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
    polygons = []
    while neighbours:
        polygon = [next(iter(neighbours))]
        while following := [middle for middle in neighbours.pop(polygon[-1]) if middle in neighbours]:
            polygon.append(following[0])
        polygons.append(polygon)
    return polygons


def _face_lines(
    axis: int, side: int, inside: dict[tuple[int, int, int], bool], rarer: bool
) -> list[tuple[Corner, Corner]]:
    ring = [_on_face(axis, side, u, v) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1))]
    middles = [_middle(ring[i], ring[(i + 1) % 4]) for i in range(4)]
    crossed = [i for i in range(4) if inside[ring[i]] != inside[ring[(i + 1) % 4]]]
    if len(crossed) == 4:
        return [(middles[i - 1], middles[i]) for i in range(4) if inside[ring[i]] == rarer]
    return [(middles[crossed[0]], middles[crossed[1]])] if crossed else []


def _split(polygon: list[Corner]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    points = np.array(polygon)
    fans = []
    for start in range(len(points)):
        spokes = np.roll(points, -start, axis=0)[1:] - points[start]
        fans.append(list(pairwise(spokes)))
    return max(fans, key=lambda fan: round(sum(float(np.linalg.norm(np.cross(a, b))) for a, b in fan), 9))


def _on_face(axis: int, side: int, u: int, v: int) -> tuple[int, int, int]:
    x, y, z = np.insert([u, v], axis, side).tolist()
    return x, y, z


def _middle(one: tuple[int, int, int], other: tuple[int, int, int]) -> Corner:
    x, y, z = ((a + b) / 2 for a, b in zip(one, other, strict=True))
    return x, y, z
