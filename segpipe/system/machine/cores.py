"""The one place that counts cores: those of this process's affinity, and no more than its containers grant."""

import os
from contextlib import suppress
from pathlib import Path

from segpipe.system.machine.control_groups import MOUNT, OWN, find_groups


def available_cores() -> int:
    """Cores this process may use, which on a shared machine or in a container are fewer than the machine has."""
    return max(1, int(min(affine_cores(), granted_cores())))


def affine_cores() -> int:
    """Cores this process may run on, whatever share of them it is granted."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def granted_cores(own: Path = OWN, mount: Path = MOUNT) -> float:
    """The CPU time per time that this process's control groups grant it (Linux); infinite without a limit.

    Args:
        own: The file that names the groups of this process.
        mount: Where groups are to be seen.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (`cpu.max`), scheduler/sched-bwc.rst (`cpu.cfs_quota_us`).
    """
    with suppress(OSError):
        return min(map(_grant, find_groups("cpu", own, mount)), default=float("inf"))
    return float("inf")


def parse_quota(quota: str, period: str) -> float:
    """Cores that a quota grants, both in microseconds; `max` or a negative one grants all.

    >>> parse_quota("150000", "100000"), parse_quota("max", "100000"), parse_quota("-1", "100000")
    (1.5, inf, inf)
    """
    if quota == "max" or int(quota) <= 0:
        return float("inf")
    return int(quota) / int(period)


def _grant(group: Path) -> float:
    for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with suppress(OSError, ValueError):
            quota, period = " ".join((group / file).read_text() for file in files).split()
            return parse_quota(quota, period)
    return float("inf")
