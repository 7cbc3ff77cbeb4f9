"""The hills of a probability volume and the saddles between them: which peaks are one hill, how far each reaches."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]
Values = NDArray[np.float64]
_NEIGHBOURS = [step for step in product((-1, 0, 1), repeat=3) if step > (0, 0, 0)]
"""One of each pair of opposite steps to the 26 neighbours."""


@dataclass(frozen=True, eq=False)
class Basins:
    """Local peaks, lowest first, what leads uphill to each, and where two of them meet.

    Args:
        peak: The value of each peak, rising, (n,).
        of_voxel: The basin of each voxel.
        first: One basin of each meeting.
        second: The other one.
        saddle: The value at which they meet; two basins may meet at several places.
    """

    peak: Values
    of_voxel: Index
    first: Index
    second: Index
    saddle: Values


def find_basins(voxels: Index, values: Values) -> Basins:
    """Follows every voxel uphill to a peak; of equal values the later one is the higher.

    Args:
        voxels: Indices (n, 3), least probable first.
        values: Their probabilities.
    """
    low = voxels.min(axis=0) - 1
    shape = voxels.max(axis=0) - low + 2
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    place = (voxels - low) @ strides
    rank_at = np.full(int(np.prod(shape)), -1, dtype=np.int32)
    rank_at[place] = np.arange(len(voxels), dtype=np.int32)
    steps = [int(np.dot(step, strides)) for step in _NEIGHBOURS]
    uphill = np.arange(len(voxels), dtype=np.int32)
    for step in steps:
        for direction in (step, -step):
            np.maximum(uphill, rank_at[place + direction], out=uphill)
    while not np.array_equal(further := uphill[uphill], uphill):
        uphill = further
    tops, of_voxel = np.unique(uphill, return_inverse=True)
    borders = zip(*(_borders(rank_at[place + step], of_voxel) for step in steps), strict=True)
    first, second, saddle = (np.concatenate(parts) for parts in borders)
    return Basins(values[tops], of_voxel, first, second, values[saddle])


def join_basins(basins: Basins, *, part_of_peak: float, same: float) -> tuple[Index, NDArray[np.bool_]]:
    """Joins peaks between which the way stays high.

    Ways are taken from the highest saddle down. Two groups become one where the saddle is higher than a part of the
    lower group's peak. Only the saddles of a maximum spanning tree can join anything: every other one closes a circle
    of higher saddles, and where one of those did not join, neither does this lower one.

    Args:
        basins: The peaks.
        part_of_peak: How high, in parts of a group's peak, the way from it to a basin must stay for the basin's voxels
            to be linked to that peak.
        same: How high, in parts of the lower peak, the way between two peaks must stay for these to be one group.

    Returns:
        For each basin the highest basin of its group, and whether it is linked to it.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(basins.peak)
    first, second, saddle = _spanning_tree(basins)
    owner = np.arange(count).tolist()
    peak, joined = basins.peak.tolist(), np.zeros(len(saddle), dtype=np.bool_)
    for number, (one, other, way) in enumerate(zip(first.tolist(), second.tolist(), saddle.tolist(), strict=True)):
        lower, higher = sorted((_root(owner, one), _root(owner, other)))
        if way > same * peak[lower]:
            owner[lower], joined[number] = higher, True
    group = np.array([_root(owner, basin) for basin in range(count)], dtype=np.int64)
    close = joined & (saddle >= part_of_peak * basins.peak[group[first]])
    ways = coo_array((np.ones(close.sum()), (first[close], second[close])), shape=(count, count))
    component = connected_components(ways, directed=False)[1]
    return group, component == component[group]


def _borders(neighbour: NDArray[np.int32], of_voxel: Index) -> tuple[Index, Index, Index]:
    """Pairs of basins that meet, and the rank of the lower voxel, where each voxel has a neighbour (rank or −1)."""
    own = np.flatnonzero(neighbour >= 0)
    other = neighbour[own]
    first, second = of_voxel[own], of_voxel[other]
    apart = first != second
    return first[apart], second[apart], np.minimum(own, other)[apart]


def _root(owner: list[int], basin: int) -> int:
    while owner[basin] != basin:
        owner[basin] = basin = owner[owner[basin]]
    return basin


def _spanning_tree(basins: Basins) -> tuple[Index, Index, Values]:
    """The meetings of a maximum spanning tree (or forest), highest saddle first; saddles are below 2."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    count = len(basins.peak)
    low, high = np.minimum(basins.first, basins.second), np.maximum(basins.first, basins.second)
    pair = low * count + high
    order = np.lexsort((basins.saddle, pair))
    highest = order[np.flatnonzero(np.diff(pair[order], append=-1))]
    # a spanning tree has the least weights, and a weight of 0 is no edge
    weight = 2.0 - basins.saddle[highest]
    tree = minimum_spanning_tree(
        coo_array((weight, (low[highest], high[highest])), shape=(count, count)).tocsr()
    ).tocoo()
    sort = np.lexsort((tree.col, tree.row, tree.data))
    rows, columns = tree.row[sort].astype(np.int64), tree.col[sort].astype(np.int64)
    kept = highest[np.searchsorted(pair[highest], rows * count + columns)]
    return rows, columns, basins.saddle[kept]
