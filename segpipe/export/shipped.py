"""The models that ride in the package: the one place where the name of one becomes its folder."""

from importlib.resources import files
from pathlib import Path

FOLDER = Path(str(files("segpipe"))) / "models"
VOI_MODEL = "lidc-voi"
"""Measures the nodule at a point."""
SCAN_MODEL = "lung-nodules"
"""Searches a whole scan."""


def shipped_models() -> dict[str, Path]:
    """Name → folder of each model that rides in the package."""
    return {folder.name: folder for folder in sorted(FOLDER.glob("[!.]*")) if folder.is_dir()}


def find_model(named: str | Path) -> Path:
    """The folder of a model that rides in the package, or else the path that was named; a `Path` is always a path.

    >>> find_model("runs/mine/model").as_posix()
    'runs/mine/model'
    """
    shipped = shipped_models().get(named) if isinstance(named, str) else None
    return shipped or Path(named)
