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


def _check_grid(shape: tuple[int, ...], affine: FloatArray) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise GeometryError("a scan must be 3-D", facts={"shape": "×".join(map(str, shape))})
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise GeometryError("the affine must be 4×4 and finite", facts={"affine": affine.tolist()})
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise GeometryError(
            "the affine must be invertible; it is singular",
            facts={"affine": affine[:3].round(4).tolist()},
            hint="export the scan again with its orientation and spacing",
        )


def _corner_indices(shape: tuple[int, int, int]) -> FloatArray:
    ends = [(0, n - 1) for n in shape]
    return np.array(np.meshgrid(*ends, indexing="ij"), dtype=np.float64).reshape(3, -1).T
