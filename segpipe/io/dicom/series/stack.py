"""Turns the slices of a series into one regular grid, or says with numbers why they do not form one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segpipe.errors import ConfigError, GeometryError, SegpipeError, raise_together
from segpipe.geometry import Grid, flip_ras_lps
from segpipe.io.dicom.series.planes import Plane

FloatArray = NDArray[np.float64]
Repair = Literal["duplicate", "missing", "uneven", "tilt"]
REPAIRS: tuple[str, ...] = get_args(Repair)
SAME_PLACE_MM = 0.01
_LATERAL_TOLERANCE_MM = 0.25
_ALMOST = 0.25  # a gap of 1.75 distances lacks a slice, one of 1.5 is only uneven
_AIR_HU = -1024
_Defect = tuple[str, SegpipeError]


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices in the order of their position along the normal, and the regular grid they fill.

    Args:
        planes: The slices to read, ascending along the normal.
        places: For each slice its place on the grid's third axis; fractional where slices are unevenly spaced.
        grid: The grid (columns, rows, slices); its affine keeps the shear of a tilted gantry.
        upright: The grid after a tilt is resampled away; `grid` itself when there was none.
        repairs: What was mended, in words; empty for a series that is right.
        remarks: What is odd and stays as it is, in words.
    """

    planes: tuple[Plane, ...]
    places: FloatArray
    grid: Grid
    upright: Grid
    repairs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def all_places(self) -> FloatArray:
        """The places of the slices, and those of the grid where a slice is missing."""
        numbers = np.arange(self.grid.shape[2], dtype=np.float64)
        apart = np.abs(numbers[:, None] - self.places).min(axis=1)
        return np.union1d(self.places, numbers[apart > 0.5])


def stack_planes(planes: Sequence[Plane], *, repair: Collection[str] = ()) -> Stack:
    """Orders slices by their position along the normal and checks that they fill a regular grid.

    Args:
        planes: Slices of one size, pixel spacing and orientation, in any order.
        repair: Defects that may be mended: `duplicate` keeps the first of slices at one place, `missing` and
            `uneven` interpolate linearly between neighbours, `tilt` resamples to upright slices.

    Raises:
        GeometryError: naming with numbers every defect that may not be mended.
        ConfigError: for an unknown name in `repair`.
    """
    _check_names(repair)
    unique = _one_per_place(planes)
    layout = _lay_out(unique)
    found = [*_duplicates(len(planes) - len(unique), len(unique)), *_gaps(layout), *_unevenness(layout), *_tilt(layout)]
    forbidden = [error for name, error in found if name not in repair]
    raise_together(forbidden, headline="the slices of a series form no regular grid")
    names = {name for name, _ in found}
    grid = _grid(layout, keep_shear="tilt" in names)
    return Stack(
        planes=tuple(unique),
        places=layout.along_mm / layout.step_mm if "uneven" in names else layout.numbers.astype(np.float64),
        grid=grid,
        upright=_upright(grid) if "tilt" in names else grid,
        repairs=tuple(f"{name}: {error.facts['found']}" for name, error in found),
        remarks=_alternations(unique),
    )


def assemble(stack: Stack, slices_xyn: NDArray[np.generic], *, mask: bool = False) -> NDArray[np.generic]:
    """Puts the slices of a stack on its upright grid.

    Args:
        stack: Its order and places.
        slices_xyn: Pixels (column, row, slice) in the order of `stack.planes`.
        mask: Take the nearest value instead of interpolating, and 0 instead of air outside.

    Returns:
        The array on `stack.upright`, with the dtype of `slices_xyn`.
    """
    filled = _fill(stack, slices_xyn, mask)
    return filled if stack.upright is stack.grid else make_upright(stack, filled, mask=mask)


def assemble_mask(stack: Stack, drawn: Mapping[float, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Puts regions on the upright grid of a stack.

    A slice of the series on which nothing is drawn is empty; a place of the grid without a slice and without a
    region takes what is nearest, as the image does there.

    Args:
        stack: Its places and grids.
        drawn: Place on the third axis of `stack.grid` → region (column, row).
    """
    columns, rows, count = stack.grid.shape
    mask = np.zeros((count, rows, columns), dtype=np.uint8).transpose(2, 1, 0)
    known = np.unique([*stack.places, *drawn])
    for number in range(count):
        nearest = float(known[np.abs(known - number).argmin()])
        if nearest in drawn:
            mask[:, :, number] = drawn[nearest]
    return np.asarray(make_upright(stack, mask, mask=True), dtype=np.uint8)


def make_upright(stack: Stack, array: NDArray[np.generic], *, mask: bool) -> NDArray[np.generic]:
    """Resamples an array on the sheared `stack.grid` slice by slice to `stack.upright`; nothing is cut off."""
    from scipy.ndimage import shift

    if stack.upright is stack.grid:
        return array
    outside = 0 if mask else _AIR_HU
    result = np.full(stack.upright.shape, outside, dtype=array.dtype)
    steps = np.linalg.inv(stack.upright.affine) @ stack.grid.affine
    for number in range(array.shape[2]):
        x, y = steps[:2, 3] + number * steps[:2, 2]
        canvas = np.full(result.shape[:2], outside, dtype=np.float32)
        canvas[: array.shape[0], : array.shape[1]] = array[:, :, number]
        moved = shift(canvas, (x, y), order=0 if mask else 1, cval=outside)
        result[:, :, number] = np.rint(moved).astype(array.dtype)
    return result


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where slices lie: mm along the normal from the first, sideways offset in mm (n, 3), numbers on a regular grid."""

    planes: Sequence[Plane]
    along_mm: FloatArray
    sideways_mm: FloatArray
    numbers: NDArray[np.int64]
    step_mm: float


def _check_names(repair: Collection[str]) -> None:
    unknown = sorted(set(repair) - set(REPAIRS))
    if unknown:
        raise ConfigError("unknown repair", facts={"found": ", ".join(unknown), "known": ", ".join(REPAIRS)})


def _one_per_place(planes: Sequence[Plane]) -> list[Plane]:
    normal = planes[0].normal
    ordered = sorted(planes, key=lambda plane: (round(float(plane.position_mm @ normal), 3), plane.order))
    kept = ordered[:1]
    for plane in ordered[1:]:
        if (plane.position_mm - kept[-1].position_mm) @ normal > SAME_PLACE_MM:
            kept.append(plane)
    return kept


def _lay_out(planes: Sequence[Plane]) -> _Layout:
    if len(planes) < 2:
        raise GeometryError("a scan must have more than one slice", facts={"found": f"{len(planes)} slice"})
    normal = planes[0].normal
    offsets = np.array([plane.position_mm - planes[0].position_mm for plane in planes])
    along = offsets @ normal
    step = float(np.median(np.diff(along)))
    numbers = np.concatenate([[0], np.cumsum(np.maximum(1, np.floor(np.diff(along) / step + _ALMOST)))]).astype(
        np.int64
    )
    if _deviation(along, numbers) <= _tolerance(step):
        step = float(along[-1] / numbers[-1])
    return _Layout(planes, along, offsets - np.outer(along, normal), numbers, step)


def _deviation(along_mm: FloatArray, numbers: NDArray[np.int64]) -> float:
    """The largest distance of a slice from the regular grid that fits best, in mm."""
    step, start = np.polyfit(numbers, along_mm, 1)
    return float(np.abs(along_mm - start - step * numbers).max())


def _tolerance(step_mm: float) -> float:
    """How far a slice may be off the grid: positions are often written with one decimal only."""
    return 0.05 + 0.05 * step_mm


def _alternations(planes: Sequence[Plane]) -> tuple[str, ...]:
    """Whether slices of several acquisitions lie between each other, as two scans half a slice apart do.

    Acquisitions that follow each other, and numbers that count slices, change no more often than there are of them.
    """
    for values in zip(*(plane.taken for plane in planes), strict=True):
        acquisitions = len(set(values))
        runs = 1 + sum(one != other for one, other in pairwise(values))
        if 1 < acquisitions <= len(planes) / 2 and runs > acquisitions:
            return (f"slices of {acquisitions} acquisitions alternate and are read as one scan",)
    return ()


def _duplicates(count: int, kept: int) -> list[_Defect]:
    if not count:
        return []
    return [
        (
            "duplicate",
            GeometryError(
                "several slices lie at one place",
                facts={"found": f"{count} more slices than the {kept} places"},
                hint="separate the acquisitions of the series, or repair `duplicate` to keep the first of each place",
            ),
        )
    ]


def _gaps(layout: _Layout) -> list[_Defect]:
    lost = np.diff(layout.numbers) - 1
    if not lost.any():
        return []
    where = [f"{lost[i]} after slice {i + 1}" for i in np.flatnonzero(lost)]
    shown = ", ".join(where[:5]) + (f" and {len(where) - 5} more gaps" if len(where) > 5 else "")
    found = f"{lost.sum()} of {layout.numbers[-1] + 1} slices: {shown}"
    facts = {"found": found, "slice distance": f"{layout.step_mm:.3f} mm"}
    hint = "export the whole series again, or repair `missing` to interpolate"
    return [("missing", GeometryError("slices are missing", facts=facts, hint=hint))]


def _unevenness(layout: _Layout) -> list[_Defect]:
    if _deviation(layout.along_mm, layout.numbers) <= _tolerance(layout.step_mm):
        return []
    gaps = np.diff(layout.along_mm)
    found = f"distances from {gaps.min():.3f} to {gaps.max():.3f} mm"
    hint = "reconstruct the series with one distance, or repair `uneven` to interpolate"
    facts = {"found": found, "median": f"{np.median(gaps):.3f} mm"}
    return [("uneven", GeometryError("slices are unevenly spaced", facts=facts, hint=hint))]


def _tilt(layout: _Layout) -> list[_Defect]:
    farthest = float(np.linalg.norm(layout.sideways_mm, axis=1).max())
    if farthest <= _LATERAL_TOLERANCE_MM:
        return []
    shear = _shear(layout)
    rest = float(np.linalg.norm(layout.sideways_mm - np.outer(layout.along_mm, shear), axis=1).max())
    if rest > _LATERAL_TOLERANCE_MM:
        facts = {"found": f"slices are up to {farthest:.2f} mm off each other, not along one line"}
        return [("shift", GeometryError("slices are shifted sideways", facts=facts, hint="export the series again"))]
    angle = np.degrees(np.arctan(np.linalg.norm(shear)))
    facts = {"found": f"{angle:.2f}°, the last slice is {farthest:.1f} mm off the first"}
    hint = "use an upright reconstruction, or repair `tilt` to resample"
    return [("tilt", GeometryError("the gantry was tilted", facts=facts, hint=hint))]


def _shear(layout: _Layout) -> FloatArray:
    """Sideways mm per mm along the normal, LPS+, by least squares through the first slice."""
    return (layout.along_mm @ layout.sideways_mm) / (layout.along_mm @ layout.along_mm)


def _grid(layout: _Layout, *, keep_shear: bool) -> Grid:
    first = layout.planes[0]
    across = first.normal + (_shear(layout) if keep_shear else 0.0)
    affine_lps = np.eye(4)
    affine_lps[:3, :2] = first.directions.T * first.spacing_mm
    affine_lps[:3, 2] = across * layout.step_mm
    affine_lps[:3, 3] = first.position_mm
    rows, columns = first.shape
    count = int(np.floor(layout.along_mm[-1] / layout.step_mm + 0.5)) + 1
    return Grid((columns, rows, count), flip_ras_lps(affine_lps))


def _upright(grid: Grid) -> Grid:
    """The smallest grid without shear that holds all of a sheared one."""
    affine = np.array(grid.affine)
    across = np.cross(affine[:3, 0], affine[:3, 1])
    across *= (affine[:3, 2] @ across) / (across @ across)
    sideways = np.linalg.lstsq(affine[:3, :2], affine[:3, 2] - across, rcond=None)[0] * (grid.shape[2] - 1)
    affine[:3, 3] += affine[:3, :2] @ np.minimum(sideways, 0)
    affine[:3, 2] = across
    x, y = np.ceil(np.abs(sideways) - 1e-6).astype(int)
    return Grid((grid.shape[0] + x, grid.shape[1] + y, grid.shape[2]), affine)


def _fill(stack: Stack, slices_xyn: NDArray[np.generic], mask: bool) -> NDArray[np.generic]:
    """One slice per place of the grid; between slices the nearest one (mask) or the linear mean."""
    wanted = np.arange(stack.grid.shape[2], dtype=np.float64)
    if np.array_equal(stack.places, wanted):
        return slices_xyn
    after = np.clip(np.searchsorted(stack.places, wanted), 1, len(stack.places) - 1)
    share = (wanted - stack.places[after - 1]) / (stack.places[after] - stack.places[after - 1])
    share = np.clip(np.rint(share) if mask else share, 0, 1)
    filled = np.empty((*slices_xyn.shape[:2], len(wanted)), dtype=slices_xyn.dtype)
    for number, (upper, weight) in enumerate(zip(after, share, strict=True)):
        mixed = slices_xyn[:, :, upper - 1] * (1 - weight) + slices_xyn[:, :, upper] * weight
        filled[:, :, number] = np.rint(mixed)
    return filled
