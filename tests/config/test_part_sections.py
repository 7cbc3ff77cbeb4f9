"""Sections that choose a part by name, by a plug-in's name, or by `_target_`: every mistake is one line."""

import pytest

from segpipe.config.schema import check_settings
from segpipe.parts import Registry
from segpipe.parts.checking import check_part
from tests.parts.plug_ins import THINGS, install

POINTS = "[segpipe.lenses]\nthing = PKG.things:Thing\ngone = PKG.things:Gone\n"


def tried(spec, config):
    return ["the lens is too thick"] if spec.get("depth") == config["limit"] else []


@pytest.fixture
def lenses(tmp_path, monkeypatch):
    name = install(tmp_path, monkeypatch, {"things": THINGS}, POINTS)
    return name, Registry("lens", {}, group="segpipe.lenses", given=("width",), trial=tried)


def check(lenses, spec):
    package, registry = lenses
    values = {key: value.replace("PKG", package) if isinstance(value, str) else value for key, value in spec.items()}
    part, mistakes = check_part("lens", values, registry, {"limit": 9})
    assert part == values
    return [mistake.replace(package, "PKG") for mistake in mistakes]


@pytest.mark.parametrize("chosen", [{"name": "thing"}, {"_target_": "PKG.things.Thing"}])
def test_keys_of_foreign_parts_are_those_of_their_signature(lenses, chosen):
    assert check(lenses, {**chosen, "depth": 3}) == []
    assert check(lenses, {**chosen, "dept": 3}) == [
        "lens.dept: no such key; allowed: depth, extra; did you mean depth?"
    ]
    assert check(lenses, {**chosen, "depth": 9}) == ["lens: the lens is too thick"]


def test_names_are_listed_and_broken_plug_ins_explained(lenses):
    assert check(lenses, {"name": "thinf"}) == [
        "lens.name=thinf: must be one of thing, gone, or lens._target_ be given; did you mean thing?"
    ]
    (mistake,) = check(lenses, {"name": "gone"})
    assert mistake.startswith(
        "lens.name=gone: the lens of a plug-in cannot be imported (package: PKG, segpipe.lenses: "
    )


def test_a_list_of_parts_is_checked_item_by_item(lenses):
    package, registry = lenses
    items = [{"_target_": f"{package}.things.Thing"}, {"name": "thin"}, 3]
    _, mistakes = check_settings({"lenses": items, "limit": 1}, {"lenses": registry})
    assert [mistake.split(":")[0] for mistake in mistakes[:2]] == ["lenses.1.name=thin", "lenses.2.name=None"]
