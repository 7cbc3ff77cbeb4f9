"""What writers have begun and not finished, by the names that they give it."""

from pathlib import Path

from segpipe.system.files.atomic_write import _PREFIX


def unfinished(folder: Path) -> list[str]:
    """Names of such files and folders anywhere below a folder."""
    names = [path.name for path in folder.rglob("*")]
    return [name for name in names if name.startswith(_PREFIX) or name.endswith((".part", ".old"))]
