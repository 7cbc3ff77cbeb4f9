"""Fills closed contours on a slice and traces the outlines of a mask; filling what was traced gives the same mask."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Border = Literal["auto", "include", "exclude"]
_TRACED = 0.005  # of a pixel: coordinates with three decimals are off by less, those of Pinnacle3 by a constant 0.01
_ON_CENTRE = 0.02
_DECIMALS = 5  # of a pixel: takes away what text and matrices add, so that a point on a pixel's centre stays there


def fill_contours(contours: Sequence[FloatArray], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fills closed contours by the even-odd rule: a contour inside another one is a hole.

    A pixel belongs to the region when its centre does; of the centres that lie exactly on a contour those on its low
    side count and those on its high side do not, so that regions that share an edge neither overlap nor gap.

    Args:
        contours: Points (n, 2) as (column, row) in pixels; pixel centres have whole numbers. Parts beyond the image
            are cut off.
        shape: Columns and rows.

    Returns:
        The region, (column, row).
    """
    low, high = _edges(contours)
    first = np.clip(np.ceil(low[:, 1]), 0, shape[1]).astype(np.int64)
    beyond = np.clip(np.ceil(high[:, 1]), 0, shape[1]).astype(np.int64)
    counts = beyond - first
    edge = np.repeat(np.arange(len(low)), counts)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    slant = (high[edge, 0] - low[edge, 0]) / (high[edge, 1] - low[edge, 1])
    crossing = np.round(low[edge, 0] + (row - low[edge, 1]) * slant, _DECIMALS)
    column = np.clip(np.ceil(crossing), 0, shape[0]).astype(np.int64)
    region = np.zeros(shape, dtype=bool)
    if len(column):
        window = slice(int(row.min()), int(row.max()) + 1)
        parity = np.zeros((shape[0] + 1, window.stop - window.start), dtype=np.uint8)
        np.bitwise_xor.at(parity, (column, row - window.start), 1)
        region[:, window] = np.bitwise_xor.accumulate(parity, axis=0)[:-1]
    return region


def fill_region(contours: Sequence[FloatArray], shape: tuple[int, int], *, border: bool | None) -> NDArray[np.bool_]:
    """Fills closed contours as `fill_contours` does, and decides about the pixels whose centres lie on them.

    Args:
        contours: Points (n, 2) as (column, row) in pixels.
        shape: Columns and rows.
        border: Whether those pixels belong to the region; None: those on the low side alone.
    """
    if border is None:
        return fill_contours(contours, shape)
    snapped = [np.where(_on_centre(contour, _ON_CENTRE), np.rint(contour), contour) for contour in contours]
    inside, on_border = fill_contours(snapped, shape), border_pixels(snapped, shape)
    return inside | on_border if border else inside & ~on_border


def runs_through_centres(contours: Sequence[FloatArray]) -> bool:
    """Whether every point lies on a pixel's centre, as where a tool traced the outermost pixels of a mask."""
    return bool(contours) and all(bool(_on_centre(contour, _TRACED).all()) for contour in contours)


def border_pixels(contours: Sequence[FloatArray], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (column, row) whose centres lie on a contour, between its points too."""
    border = np.zeros(shape, dtype=bool)
    for contour in contours:
        rounded = np.round(contour, _DECIMALS)
        for start, end in zip(rounded, np.roll(rounded, -1, axis=0), strict=True):
            columns, rows = _centres_on_edge(start, end, shape)
            border[columns, rows] = True
    return border


def trace_mask(mask_xy: NDArray[np.uint8] | NDArray[np.bool_]) -> list[FloatArray]:
    """Outlines of the regions of a slice and of their holes, half-way between pixel centres.

    Args:
        mask_xy: (column, row); anything but 0 belongs to the region.

    Returns:
        Closed contours (n, 2) as (column, row), the first point not repeated at the end.
    """
    from contourpy import contour_generator

    if not mask_xy.any():
        return []
    columns, rows = (slice(line.min(), line.max() + 1) for line in np.nonzero(mask_xy))
    framed = np.pad((mask_xy[columns, rows] != 0).astype(np.float64), 1)
    lines = contour_generator(z=framed.T).lines(0.5)
    offset = np.array([columns.start - 1, rows.start - 1])
    return [np.asarray(line, dtype=np.float64)[:-1] + offset for line in lines]


def _edges(contours: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end (smaller and larger row) of every edge; a contour given twice counts once."""
    rounded = {np.round(contour, _DECIMALS).tobytes(): np.round(contour, _DECIMALS) for contour in contours}
    starts = [contour for contour in rounded.values() if len(contour) >= 3]
    if not starts:
        return np.empty((0, 2)), np.empty((0, 2))
    start = np.concatenate(starts)
    end = np.concatenate([np.roll(contour, -1, axis=0) for contour in starts])
    downwards = (start[:, 1] > end[:, 1])[:, None]
    return np.where(downwards, end, start), np.where(downwards, start, end)


def _on_centre(points: FloatArray, tolerance: float) -> NDArray[np.bool_]:
    """Of each point (n, 2) whether it lies on a pixel's centre, (n, 1)."""
    return np.asarray(np.abs(points - np.rint(points)).max(axis=1, keepdims=True) <= tolerance, dtype=np.bool_)


def _centres_on_edge(start: FloatArray, end: FloatArray, shape: tuple[int, int]) -> tuple[IntArray, IntArray]:
    """Columns and rows of the pixel centres on one edge, found along its longer direction."""
    along = int(np.abs(end - start).argmax())
    low, high = sorted((start[along], end[along]))
    first, last = max(np.ceil(low), 0), min(np.floor(high), shape[along] - 1)
    steps = np.arange(first, last + 1)
    length = end[along] - start[along]
    share = (steps - start[along]) / length if length else np.zeros_like(steps)
    across = np.round(start[1 - along] + share * (end[1 - along] - start[1 - along]), _DECIMALS)
    met = (across == np.rint(across)) & (across >= 0) & (across < shape[1 - along])
    points = np.stack([steps[met], across[met]] if along == 0 else [across[met], steps[met]]).astype(np.int64)
    return points[0], points[1]
