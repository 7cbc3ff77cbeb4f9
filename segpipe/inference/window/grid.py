"""The part of the recipe's grid that a network sees, prepared slice by slice: no whole float volume ever exists."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from segpipe.errors import GeometryError, ImageError
from segpipe.geometry import Grid, round_up, to_voxel, to_world
from segpipe.lesions import Box
from segpipe.preprocessing.recipe import Recipe, Shape
from segpipe.preprocessing.resampling import Preparation, interpolate, normalise, orient

VOI_LIMIT = 27
"""Windows whose volume a crop may have; 60 mm of scan around a large nodule have nine, a whole scan has hundreds."""
Point = tuple[float, float, float]


@dataclass(frozen=True)
class InferenceGrid:
    """A box of voxels on the recipe's grid and the window that slides over it.

    Args:
        preparation: How the scan's voxels relate to the recipe's grid.
        start: First voxel of the box on the recipe's grid; outside the grid the scan's border repeats.
        size: Voxels of the box, nowhere smaller than the window.
        window: Voxels of one forward pass.
    """

    preparation: Preparation
    start: Shape
    size: Shape
    window: Shape

    def layer_bytes(self, classes: int) -> int:
        """Memory of the layer that slides over the box: image, a sum for each class and weight, float32."""
        return (2 + classes) * 4 * self.size[0] * self.size[1] * self.window[2]

    def scan_positions(self, axis: int) -> torch.Tensor:
        """Index on the scan's (oriented) axis of every voxel of the box along `axis`, float64."""
        index = torch.arange(self.size[axis], dtype=torch.float64) + self.start[axis]
        return index * self.preparation.ratios[axis]

    def box_positions(self, axis: int) -> tuple[slice, torch.Tensor]:
        """The scan's voxels along `axis` that lie in the box, and their index in the box, float64."""
        count = self.preparation.scan.shape[self.preparation.order[axis]]
        index = torch.arange(count, dtype=torch.float64) / self.preparation.ratios[axis] - self.start[axis]
        inside = torch.nonzero((index >= -0.51) & (index <= self.size[axis] - 0.49)).flatten()
        first, last = (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)
        return slice(first, last), index[first:last].clamp(0, self.size[axis] - 1)

    @property
    def scan_box(self) -> Box:
        """The scan's voxels that lie in the box, along the scan's own axes."""
        ends = [slice(0, 0)] * 3
        for axis, (source, flip) in enumerate(zip(self.preparation.order, self.preparation.flips, strict=True)):
            inside, _ = self.box_positions(axis)
            count = self.preparation.scan.shape[source]
            ends[source] = slice(count - inside.stop, count - inside.start) if flip else inside
        return ends[0], ends[1], ends[2]

    @property
    def covered(self) -> Grid:
        """The grid of these voxels."""
        scan, box = self.preparation.scan, self.scan_box
        affine = scan.affine.copy()
        affine[:3, 3] = to_world(scan.affine, [part.start for part in box])
        x, y, z = (part.stop - part.start for part in box)
        return Grid((x, y, z), affine)

    def holds(self, points_mm: Sequence[Point]) -> bool:
        """Whether the voxels at all of these points lie in the box, those at its border for points outside the scan."""
        scan, box = self.preparation.scan, self.scan_box
        indices = np.rint(to_voxel(scan.affine, np.reshape(points_mm, (-1, 3)))).clip(0, np.array(scan.shape) - 1)
        first, stop = ([getattr(part, end) for part in box] for end in ("start", "stop"))
        return bool(((indices >= first) & (indices < stop)).all())


def choose_grid(
    preparation: Preparation, recipe: Recipe, divisor: Shape, *, at_mm: Point | None = None, window: Shape | None = None
) -> InferenceGrid:
    """The box to predict: the whole scan, or for a recipe of scope `voi` the surroundings of one point.

    Where the scan ends within the box, its border repeats; where it is smaller, it lies in the middle.

    Args:
        preparation: Of the scan.
        recipe: Its patch is the window.
        divisor: What the window must be a multiple of.
        at_mm: The point, RAS+ mm; without one, the image of a `voi` recipe is itself a crop around the lesion.
        window: The only window that the engine takes, if there is but one.

    Raises:
        GeometryError: when the point is outside the scan.
        ImageError: when a whole scan comes without a point to a recipe of scope `voi`.
    """
    if at_mm is not None:
        check_point(preparation.scan, at_mm)
    own = window or round_up(recipe.patch, divisor)
    if recipe.scope == "scan":
        return _centred(preparation, _largest(preparation.grid.shape, own), own)
    if at_mm is not None:
        return _around(preparation, own, at_mm)
    _check_crop(preparation, recipe)
    size = round_up(_largest(preparation.grid.shape, own), divisor)
    return _centred(preparation, size, window or size)


def crop_frame(inference_grid: InferenceGrid, box: tuple[slice, slice, slice]) -> InferenceGrid:
    """The part of a frame that holds a box of the scan's voxels, nowhere smaller than the window."""
    scan, grid = inference_grid.preparation.scan, inference_grid.preparation.grid
    ends = to_world(scan.affine, [[axis.start for axis in box], [axis.stop - 1 for axis in box]])
    voxels = to_voxel(grid.affine, ends)
    first, whole = np.array(inference_grid.start), np.array(inference_grid.size)
    low = np.maximum(np.floor(voxels.min(axis=0)).astype(int), first)
    high = np.minimum(np.ceil(voxels.max(axis=0)).astype(int) + 1, first + whole)
    size = np.maximum(high - low, inference_grid.window)
    start = np.clip(low - (size - (high - low)) // 2, first, first + whole - size)
    return replace(inference_grid, start=_shape(start), size=_shape(size))


def check_point(scan: Grid, at_mm: Point) -> None:
    """Refuses a point outside the scan.

    Raises:
        GeometryError: with the scan's extent.
    """
    index = to_voxel(scan.affine, at_mm)
    if np.all(index >= -0.5) and np.all(index <= np.array(scan.shape) - 0.5):
        return
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in scan.shape], indexing="ij")).reshape(3, -1).T
    corners = ends @ scan.affine[:3, :3].T + scan.affine[:3, 3]
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = ", ".join(f"{axis} {a:.1f}…{b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
    raise GeometryError(
        "the point must lie in the scan",
        facts={"point": ", ".join(f"{value:g}" for value in at_mm), "scan": f"{extent} mm (RAS+)"},
        hint="DICOM and ITK positions are LPS+: change the signs of x and y",
    )


class SliceReader:
    """Prepares the slices of a frame along its third axis: orientation, spacing, window and the recipe's transforms.

    Args:
        image: The scan in HU on its own grid.
        inference_grid: The box to read.
        recipe: For the intensities.
    """

    def __init__(self, image: NDArray[np.generic], inference_grid: InferenceGrid, recipe: Recipe) -> None:
        self._oriented = orient(image, inference_grid.preparation)
        self._positions = [inference_grid.scan_positions(axis) for axis in range(3)]
        self._recipe = recipe
        self._kept: dict[int, torch.Tensor] = {}

    def read(self, number: int) -> torch.Tensor:
        """Slice `number` of the frame, (x, y), float32, as the network sees it."""
        lower, upper, weight = neighbours(float(self._positions[2][number]), self._oriented.shape[2])
        slice_hu = torch.lerp(self._plane(lower), self._plane(upper), weight)
        self._kept = {index: self._kept[index] for index in {lower, upper}}
        return normalise(slice_hu, self._recipe)

    def _plane(self, index: int) -> torch.Tensor:
        """A slice of the scan, resampled in its plane; the last two are kept for the next call."""
        if index not in self._kept:
            plane = torch.from_numpy(np.ascontiguousarray(self._oriented[:, :, index])).float()
            self._kept[index] = interpolate_plane(plane, self._positions[:2])
        return self._kept[index]


def neighbours(position: float, count: int) -> tuple[int, int, float]:
    """The two indices around a fractional one, clamped to 0…count-1, and the weight of the upper."""
    clamped = min(max(position, 0.0), count - 1.0)
    lower = int(clamped)
    return lower, min(lower + 1, count - 1), clamped - lower


def interpolate_plane(plane: torch.Tensor, positions: Sequence[torch.Tensor]) -> torch.Tensor:
    """Linear interpolation of (x, y) at two lists of fractional indices."""
    first, second = positions
    return interpolate(plane[..., None], [first, second, torch.zeros(1, dtype=torch.float64)])[..., 0]


def _shape(values: NDArray[np.int64]) -> Shape:
    x, y, z = values.tolist()
    return x, y, z


def _largest(one: Shape, other: Shape) -> Shape:
    x, y, z = (max(a, b) for a, b in zip(one, other, strict=True))
    return x, y, z


def _centred(preparation: Preparation, size: Shape, window: Shape) -> InferenceGrid:
    x, y, z = ((have - want) // 2 for have, want in zip(preparation.grid.shape, size, strict=True))
    return InferenceGrid(preparation, (x, y, z), size, window)


def _around(preparation: Preparation, window: Shape, at_mm: Point) -> InferenceGrid:
    middle = np.array([(length - 1) / 2 for length in window])
    x, y, z = np.round(to_voxel(preparation.grid.affine, at_mm) - middle).astype(int).tolist()
    return InferenceGrid(preparation, (x, y, z), window, window)


def _check_crop(preparation: Preparation, recipe: Recipe) -> None:
    if math.prod(preparation.grid.shape) > VOI_LIMIT * math.prod(recipe.patch):
        raise ImageError(
            "this model segments the lesion at one point; a whole scan needs that point",
            facts={"scan": preparation.scan, "patch": "×".join(map(str, recipe.patch))},
            hint="give the point with --at x,y,z (RAS+ mm), or a crop around the lesion",
        )
