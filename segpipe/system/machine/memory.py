"""The one place that counts memory: the machine's, and no more than containers grant."""

import os
from contextlib import suppress
from pathlib import Path

from segpipe.system.machine.control_groups import MOUNT, OWN, find_groups

_LIMITS = ("memory.max", "memory.limit_in_bytes")


def available_memory() -> int:
    """Bytes this process and those in its container may take, which may be fewer than the machine has."""
    return int(min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), granted_memory()))


def granted_memory(own: Path = OWN, mount: Path = MOUNT) -> float:
    """Bytes that this process's control groups grant (Linux), beyond which it is killed; infinite without a limit.

    Args:
        own: The file that names the groups of this process.
        mount: Where groups are to be seen.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst (`memory.max`), cgroup-v1/memory.rst (`limit_in_bytes`).
    """
    with suppress(OSError):
        return min(map(_limit, find_groups("memory", own, mount)), default=float("inf"))
    return float("inf")


def _limit(group: Path) -> float:
    for file in _LIMITS:
        with suppress(OSError, ValueError):
            return float((group / file).read_text().replace("max", "inf"))
    return float("inf")
