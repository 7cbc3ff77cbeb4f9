"""Parts of installed packages: found by their entry points, imported when they are looked up, each on its own."""

import pytest

from segpipe.errors import ConfigError
from segpipe.parts import Registry, build_part
from tests.parts.plug_ins import THINGS, install

POINTS = """
[segpipe.lenses]
thing = PKG.things:Thing
gone = PKG.things:Gone
lens = PKG.things:refusing
"""


@pytest.fixture
def lenses(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {"things": THINGS}, POINTS)
    return Registry("lens", {"lens": lambda: "own"}, group="segpipe.lenses", given=("width",))


def test_shipped_names_come_first_and_cannot_be_taken(lenses):
    assert list(lenses) == ["lens", "thing", "gone"]
    assert len(lenses) == 3
    assert "thing" in lenses
    assert "other" not in lenses
    assert lenses["lens"]() == "own"


def test_a_plug_in_is_built_by_its_name(lenses):
    assert build_part(lenses, {"name": "thing", "depth": 5}, width=3).depth == 5
    with pytest.raises(ConfigError, match="has missing or unknown keys"):
        build_part(lenses, {"name": "thing", "hue": 5}, width=3)


def test_a_broken_plug_in_harms_nobody_else(lenses):
    assert lenses["thing"].__name__ == "Thing"
    with pytest.raises(ConfigError, match="the lens of a plug-in cannot be imported") as caught:
        lenses["gone"]
    package = caught.value.facts["package"]
    assert caught.value.facts["segpipe.lenses"] == f"gone = {package}.things:Gone"
    assert "has no attribute 'Gone'" in caught.value.facts["found"]
    with pytest.raises(KeyError):
        lenses["other"]


def test_a_name_that_two_packages_register_is_refused(lenses, tmp_path, monkeypatch):
    other = install(tmp_path / "second", monkeypatch, {"things": THINGS}, "[segpipe.lenses]\nthing = PKG.things:Thing")
    with pytest.raises(ConfigError, match="must be registered by one package") as caught:
        lenses["thing"]
    assert other in caught.value.facts["package"]
    assert "lens._target_=PACKAGE.MODULE.NAME" in str(caught.value)
