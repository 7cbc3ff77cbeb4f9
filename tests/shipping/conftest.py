"""The scripts that make what rides in the package are on the path."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "shipping")
