"""Packages outside this project that bring parts, as pip would install them."""

from pathlib import Path

import pytest

THINGS = """
import torch

class Thing:
    def __init__(self, width, depth=2, *, extra=None):
        self.width, self.depth, self.extra = width, depth, extra

def open_thing(first, **others):
    return {"first": first, **others}

def refusing(width):
    raise RuntimeError("width is never right\\nand more")

NUMBER = 3
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, modules: dict[str, str], entry_points: str = "") -> str:
    """Writes a package of these modules with its dist-info and puts it on the path; its name is new each time."""
    name = f"plugpkg_{abs(hash(str(folder))):x}"
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    for module, text in modules.items():
        (folder / name / f"{module}.py").write_text(text)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points.replace("PKG", name))
    monkeypatch.syspath_prepend(folder)
    return name
