"""The data sets that ride in the package, by name: what somebody without data trains on."""

from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files("segpipe"))) / "samples"


def shipped_samples() -> dict[str, Path]:
    """Name → folder of each data set that rides in the package."""
    return {folder.name: folder for folder in sorted(FOLDER.glob("[!.]*")) if folder.is_dir()}


def find_data(named: str) -> Path:
    """The folder of a data set that rides in the package, or else the path that was named.

    >>> find_data("/data/mine").as_posix()
    '/data/mine'
    """
    return shipped_samples().get(named, Path(named).expanduser())
