"""Who may meet whom: hosts and nodules are dealt to groups, so that no patient is in two of them.

A scan with nodules of other patients belongs to all of them. Were nodules drawn freely, nearly every patient would meet
every other, and there would be one group left to split. So each group has hosts and nodules of its own, and what is
split into training and held-out cases, or into folds, is groups.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segpipe.datasets.manifest import Entry, Manifest
from segpipe.errors import DatasetError
from segpipe.geometry import FloatArray, Grid, to_voxel
from segpipe.io.images.volumes import read_grid

_WHOLE = 0.02


@dataclass(frozen=True)
class Group:
    """Hosts, and the nodules that they may get."""

    name: str
    hosts: tuple[Entry, ...]
    nodules: tuple[Entry, ...]


def deal_groups(hosts: Sequence[Entry], nodules: Sequence[Entry], *, seed: int) -> list[Group]:
    """Deals patients to as many groups as there are hosts' patients, or nodules' where these are fewer.

    Raises:
        DatasetError: when there are no hosts or no nodules.
    """
    if not hosts or not nodules:
        raise DatasetError("there must be hosts and nodules", facts={"hosts": len(hosts), "nodules": len(nodules)})
    rng = np.random.default_rng(seed)
    of_host, of_nodule = ({entry.patient for entry in entries} for entries in (hosts, nodules))
    count = min(len(of_host), len(of_nodule))
    host_group, nodule_group = (_deal(patients, count, rng) for patients in (of_host, of_nodule))
    return [
        Group(
            f"group_{number + 1:04d}",
            tuple(entry for entry in hosts if host_group[entry.patient] == number),
            tuple(entry for entry in nodules if nodule_group[entry.patient] == number),
        )
        for number in range(count)
    ]


def without_hosts_own(hosts: Manifest, nodules: Manifest) -> tuple[Entry, ...]:
    """The nodules of patients none of whose crops lies on the grid of a host: those would be in two groups.

    A crop that was cut from a scan has its voxels where the scan has them, to a fiftieth of a voxel in three
    directions; names say nothing, since each data set has its own.
    """
    grids = _grids(hosts.entries)
    own = {
        entry.patient
        for entry, crop in zip(nodules.entries, _grids(nodules.entries), strict=True)
        if any(crop is not None and scan is not None and _is_part(crop, scan) for scan in grids)
    }
    return tuple(entry for entry in nodules.entries if entry.patient not in own)


def _deal(patients: Iterable[str], count: int, rng: np.random.Generator) -> dict[str, int]:
    names = sorted(patients)
    return {names[index]: place % count for place, index in enumerate(rng.permutation(len(names)))}


def _grids(entries: Iterable[Entry]) -> list[Grid | None]:
    known: dict[Path, Grid | None] = {}
    return [known.setdefault(entry.image, read_grid(entry.image)) for entry in entries]


def _is_part(crop: Grid, scan: Grid) -> bool:
    if not np.allclose(crop.affine[:3, :3], scan.affine[:3, :3], atol=1e-3):
        return False
    start: FloatArray = to_voxel(scan.affine, crop.affine[:3, 3])
    whole = np.rint(start)
    fits = (whole >= 0).all() and (whole + crop.shape <= scan.shape).all()
    return bool(fits and np.abs(start - whole).max() <= _WHOLE)
