"""Where Linux keeps what the control groups of this process grant it, in both versions of control groups."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def find_groups(controller: str, own: Path = OWN, mount: Path = MOUNT) -> Iterator[Path]:
    """The folders of the groups, and those around them, that may limit what a controller counts.

    A group has at most what each group around it has. Inside a container `own` may name a group that only the machine
    sees; the container's is then `mount` itself.

    Args:
        controller: `cpu` or `memory`.
        own: The file that names the groups of this process.
        mount: Where groups are to be seen.

    Raises:
        OSError: on a system without control groups.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cgroups.rst.
    """
    for line in own.read_text().splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = mount / controllers
        inner = PurePosixPath(name.lstrip("/"))
        yield from (root / folder for folder in (inner, *inner.parents))
