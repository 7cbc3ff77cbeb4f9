"""Voxel grids in the patient's space; the only place where the signs of RAS and LPS flip.

Everywhere in segpipe an affine maps voxel indices to millimetres in RAS+ (x to the Right, y to the Anterior, z to the
Superior), the convention of NIfTI. DICOM and ITK use LPS+; convert with `flip_ras_lps`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from segpipe.errors import GeometryError

FloatArray = NDArray[np.float64]
GRID_TOLERANCE_MM = 1e-2
_FLAT = 1e-6  # volume of a voxel with edges of length 1 that count as being in one plane
_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_AXIS_LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxel grid of a scan.

    Args:
        shape: Voxels along the three array axes.
        affine: 4×4, voxel index → mm in RAS+.

    Raises:
        GeometryError: for a shape that is not 3-D or an affine that is not finite or singular.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        _check_grid(self.shape, affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along each array axis, in mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Length of the grid along each array axis, in mm."""
        x, y, z = np.multiply(self.shape, self.spacing_mm)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Nearest anatomical direction of each array axis, e.g. `RAS` or `LPS`."""
        return "".join(_AXIS_LETTERS[world][int(sign > 0)] for world, sign in axis_directions(self.affine))

    def matches(self, other: "Grid", *, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """True when both grids have one shape and no voxel centre differs by more than `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        corners = _corner_indices(self.shape)
        apart = to_world(self.affine, corners) - to_world(other.affine, corners)
        return bool(np.linalg.norm(apart, axis=1).max() <= tolerance_mm)

    def __str__(self) -> str:
        shape = "×".join(str(n) for n in self.shape)
        spacing = "×".join(f"{s:.2f}" for s in self.spacing_mm)
        return f"{shape}, {spacing} mm, {self.orientation}"


def describe_apart(**grids: Grid) -> dict[str, str]:
    """Grids in words, with as much as it takes to see how they differ: where they begin, or where they end, too.

    >>> shifted = np.diag([1.0, 1.0, 2.0, 1.0])
    >>> shifted[2, 3] = 35
    >>> describe_apart(image=Grid((4, 4, 4), np.diag([1.0, 1.0, 2.0, 1.0])), mask=Grid((4, 4, 4), shifted))["mask"]
    '4×4×4, 1.00×1.00×2.00 mm, RAS, from (0.00, 0.00, 35.00) mm'
    """
    words = {name: str(grid) for name, grid in grids.items()}
    for corner, which in (("from", 0), ("to", -1)):
        if len(set(words.values())) == 1:
            ends = {name: to_world(grid.affine, _corner_indices(grid.shape)[which]) for name, grid in grids.items()}
            words = {
                name: f"{words[name]}, {corner} ({', '.join(f'{mm:.2f}' for mm in ends[name])}) mm" for name in words
            }
    return words


def round_up(shape: tuple[int, int, int], divisor: tuple[int, int, int]) -> tuple[int, int, int]:
    """The smallest shape, nowhere smaller than `shape`, that `divisor` divides.

    >>> round_up((60, 64, 5), (16, 16, 4))
    (64, 64, 8)
    """
    x, y, z = (-(-size // unit) * unit for size, unit in zip(shape, divisor, strict=True))
    return x, y, z


def to_world(affine: ArrayLike, indices: ArrayLike) -> FloatArray:
    """Maps voxel indices (…, 3) to positions in mm (…, 3).

    >>> to_world(np.diag([2.0, 2.0, 3.0, 1.0]), [1, 1, 1]).tolist()
    [2.0, 2.0, 3.0]
    """
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(indices, dtype=np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def to_voxel(affine: ArrayLike, positions_mm: ArrayLike) -> FloatArray:
    """Maps positions in mm (…, 3) to fractional voxel indices (…, 3)."""
    matrix = np.asarray(affine, dtype=np.float64)
    offsets = np.asarray(positions_mm, dtype=np.float64) - matrix[:3, 3]
    indices = np.linalg.solve(matrix[:3, :3], offsets.reshape(-1, 3).T)
    return np.asarray(indices.T, dtype=np.float64).reshape(offsets.shape)


def flip_ras_lps(values: ArrayLike) -> FloatArray:
    """Turns a 4×4 affine or points (…, 3) from RAS+ to LPS+ or back; applying it twice changes nothing.

    >>> flip_ras_lps([1.0, 2.0, 3.0]).tolist()
    [-1.0, -2.0, 3.0]
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape == (4, 4):
        return _RAS_LPS @ array
    return np.asarray(array * [-1.0, -1.0, 1.0], dtype=np.float64)


def axis_directions(affine: ArrayLike) -> list[tuple[int, int]]:
    """For each array axis the world axis it runs along most (0, 1, 2) and its sign; each world axis is used once."""
    from scipy.optimize import linear_sum_assignment

    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    cosines = matrix / np.linalg.norm(matrix, axis=0)
    worlds, axes = linear_sum_assignment(-np.abs(cosines))
    world_of = {int(axis): int(world) for world, axis in zip(worlds, axes, strict=True)}
    return [(world_of[axis], 1 if cosines[world_of[axis], axis] > 0 else -1) for axis in range(3)]


def sizes_along_world(grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Voxel size and extent of a scan in mm, (3,) each: right–left, front–back and along the body."""
    order = [axis for _, axis in sorted((world, axis) for axis, (world, _) in enumerate(axis_directions(grid.affine)))]
    spacing = np.array([grid.spacing_mm[axis] for axis in order])
    return spacing, spacing * np.array([grid.shape[axis] for axis in order])


def _check_grid(shape: tuple[int, ...], affine: FloatArray) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise GeometryError("a scan must be 3-D", facts={"shape": "×".join(map(str, shape))})
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise GeometryError("the affine must be 4×4 and finite", facts={"affine": affine.tolist()})
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not lengths.all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < _FLAT:
        raise GeometryError(
            "the affine must be invertible; it is singular",
            facts={"affine": affine[:3].round(4).tolist()},
            hint="export the scan again with its orientation and spacing",
        )


def _corner_indices(shape: tuple[int, int, int]) -> FloatArray:
    ends = [(0, n - 1) for n in shape]
    return np.array(np.meshgrid(*ends, indexing="ij"), dtype=np.float64).reshape(3, -1).T
