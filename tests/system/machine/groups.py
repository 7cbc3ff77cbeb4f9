"""Control groups as files, as Linux shows them to a process."""

from collections.abc import Mapping
from pathlib import Path


def control_groups(folder: Path, own: str, files: Mapping[str, str]) -> tuple[Path, Path]:
    """Writes what a process reads of its groups, and the files where they are mounted; returns both places."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        file = folder / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "own", folder / "mount"
