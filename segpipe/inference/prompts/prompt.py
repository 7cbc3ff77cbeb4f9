"""What a reader says of one lesion: points inside and outside it, a box around it, its longest axial diameter."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from segpipe.errors import ConfigError, GeometryError, numbered, raise_together
from segpipe.geometry import Grid, to_voxel
from segpipe.inference.window.grid import Point, check_point
from segpipe.lesions import superior_axis
from segpipe.preprocessing.recipe import Recipe
from segpipe.system.case_errors import attempt

Ends = tuple[Point, Point]


@dataclass(frozen=True)
class Prompt:
    """Where a lesion is and what belongs to it, in RAS+ mm.

    Args:
        positives: Points inside it; without box and line it is looked for at the first.
        negatives: Points outside it.
        box: Two opposite corners of a box around it.
        line: The ends of its longest diameter in an axial slice, as drawn for RECIST.

    Raises:
        ConfigError: with everything in which it contradicts itself.
    """

    positives: tuple[Point, ...] = ()
    negatives: tuple[Point, ...] = ()
    box: Ends | None = None
    line: Ends | None = None

    def __post_init__(self) -> None:
        mistakes = list(self._mistakes())
        if mistakes:
            raise ConfigError(
                "a prompt must describe one lesion",
                facts=numbered(mistakes),
                hint="a point inside, a box or a line says where it is; further points correct what is found",
            )

    @classmethod
    def of(cls, at_mm: "Point | Prompt") -> "Prompt":
        """A prompt as it is; a point as a prompt."""
        return at_mm if isinstance(at_mm, Prompt) else cls((at_mm,))

    @property
    def ends(self) -> Ends | None:
        """The corners of the box, or the ends of the line."""
        return self.box or self.line

    @property
    def centre(self) -> Point:
        """Where the lesion is looked for: the middle of box or line, or else the first point inside."""
        if self.ends is None:
            return self.positives[0]
        x, y, z = np.mean(self.ends, axis=0).tolist()
        return x, y, z

    @property
    def is_point(self) -> bool:
        """Whether it is a single point, which only says where the lesion is."""
        return self == Prompt(self.positives[:1]) if self.positives else False

    @property
    def inside(self) -> tuple[Point, ...]:
        """Points that belong to the lesion: those given, and the ends of the line."""
        return (*self.positives, *(self.line or ()))

    @property
    def extent(self) -> tuple[Point, ...]:
        """Points that a window around the lesion must hold."""
        return (*self.inside, *(self.box or ()))

    def to_dict(self) -> dict[str, Any]:
        """What was given, as plain data."""
        return {name: [list(point) for point in points] for name, points in vars(self).items() if points}

    def _mistakes(self) -> Iterator[str]:
        if not np.isfinite([*self.inside, *self.negatives, *(self.box or ())]).all():
            yield "coordinates must be finite"
        if not self.positives and self.ends is None:
            yield "negative points alone do not say where the lesion is"
        if self.box and self.line:
            yield "a box and a line exclude each other"
        if self.line and self.line[0] == self.line[1]:
            yield "the ends of the line must differ"
        if self.box and any(one == other for one, other in zip(*self.box, strict=True)):
            yield "the corners of the box must differ in x, y and z"
        elif self.box:
            low, high = np.min(self.box, axis=0), np.max(self.box, axis=0)
            outside = [point for point in self.positives if np.any(point < low) or np.any(point > high)]
            yield from (f"the positive point {describe_point(point)} lies outside the box" for point in outside)


def describe_point(point: Point) -> str:
    """A point as it is given.

    >>> describe_point((-41.5, 20.0, 7.0))
    '-41.5,20,7'
    """
    return ",".join(f"{value:g}" for value in point)


def check_prompt(prompt: Prompt, grid: Grid) -> None:
    """Checks a prompt against the grid of its scan.

    Raises:
        GeometryError: with all points outside the scan, all points that would be inside and outside the lesion at the
            same time, and a line that crosses slices.
    """
    points = [*prompt.inside, *prompt.negatives, prompt.centre]
    errors = [error for point in dict.fromkeys(points) if (error := attempt(partial(check_point, grid, point)))]
    raise_together([*errors, *_contradictions(prompt, grid)], headline="the prompt does not fit the scan")


def check_scope(prompt: Prompt, recipe: Recipe) -> None:
    """Checks that a model can follow a prompt.

    Raises:
        ConfigError: for more than a point, and a model of whole scans.
    """
    if recipe.scope == "scan" and not prompt.is_point:
        raise ConfigError(
            "a model of whole scans follows a single point only",
            facts={"model": recipe.name, "prompt": prompt.to_dict()},
            hint="give one point, or a model of single lesions (recipe.scope=voi)",
        )


def voxels_at(points_mm: Iterable[Point], grid: Grid) -> list[tuple[int, int, int]]:
    """Index of the voxel that holds each point, without those outside the grid; each voxel once."""
    indices = np.rint(to_voxel(grid.affine, np.reshape(list(points_mm), (-1, 3)))).astype(int)
    within = ((indices >= 0) & (indices < grid.shape)).all(axis=1)
    return list(dict.fromkeys((x, y, z) for x, y, z in indices[within].tolist()))


def line_points(line: Ends, step_mm: float) -> tuple[Point, ...]:
    """Points on a line from one end to the other, at most `step_mm` apart.

    >>> line_points(((0.0, 0.0, 0.0), (2.0, 0.0, 0.0)), 1.0)
    ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (2.0, 0.0, 0.0))
    """
    count = int(np.ceil(np.linalg.norm(np.subtract(*line)) / step_mm)) + 1
    return tuple((x, y, z) for x, y, z in np.linspace(*line, count).tolist())


def points_inside(prompt: Prompt, grid: Grid) -> tuple[Point, ...]:
    """All points that are inside the lesion for certain: those given, and those on the line, voxel by voxel."""
    on_line = line_points(prompt.line, min(grid.spacing_mm) / 2) if prompt.line else ()
    return (*prompt.positives, *on_line)


def _contradictions(prompt: Prompt, grid: Grid) -> Iterator[GeometryError]:
    inside = set(voxels_at(points_inside(prompt, grid), grid))
    for point in prompt.negatives:
        if inside.intersection(voxels_at([point], grid)):
            yield GeometryError(
                "a point lies inside the lesion or outside it",
                facts={"negative": describe_point(point), "found": "a positive point, or the line, in the same voxel"},
            )
    if prompt.line:
        first, last = to_voxel(grid.affine, prompt.line)[:, superior_axis(grid)]
        if abs(last - first) > 1:
            yield GeometryError(
                "a line must lie in one axial slice",
                facts={"found": f"its ends are {abs(last - first):.1f} slices apart"},
                hint="draw the longest diameter in the slice in which it is longest",
            )
