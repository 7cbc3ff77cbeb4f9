"""Callables by import path: every way in which one can be wrong is explained in a line."""

import pytest
from torch import nn

from segpipe.errors import ConfigError
from segpipe.parts import build_target, target_mistakes
from segpipe.parts.targets import targets_in
from tests.parts.plug_ins import THINGS, install


@pytest.fixture
def package(tmp_path, monkeypatch):
    broken = "import no_such_module_anywhere"
    return install(tmp_path, monkeypatch, {"things": THINGS, "broken": broken, "worse": "1 / 0"})


def test_a_target_is_called_with_its_arguments_and_those_inside_it_first(package):
    spec = {"_target_": f"{package}.things.Thing", "width": {"_target_": "builtins.len", "_args_": [[1, 2]]}}
    thing = build_target({**spec, "extra": [{"_target_": f"{package}.things.open_thing", "first": 1}]})
    assert (thing.width, thing.depth, thing.extra) == (2, 2, [{"first": 1}])
    assert type(thing.extra) is list


def test_objects_are_handed_over_as_they_are_where_they_are_taken(package):
    module = nn.Linear(2, 2)
    given = {"width": module, "unknown": 3}
    thing = build_target({"_target_": f"{package}.things.Thing"}, given)
    assert thing.width is module
    assert build_target({"_target_": f"{package}.things.Thing", "width": 5}, given).width == 5
    assert build_target({"_target_": f"{package}.things.open_thing", "first": 1}, given)["unknown"] == 3


def test_a_partial_target_is_called_later(package):
    spec = {"_target_": f"{package}.things.Thing", "depth": 7, "_partial_": True}
    assert target_mistakes("network", spec) == []
    later = build_target(spec, {"extra": 4})
    assert (later(width=3).width, later(width=3).depth, later(width=3).extra) == (3, 7, 4)
    assert "no such key" in target_mistakes("network", {**spec, "dept": 1})[0]


def test_what_a_target_refuses_is_reported_with_its_reason(package):
    with pytest.raises(ConfigError, match=r"refusing cannot be built from these values") as caught:
        build_target({"_target_": f"{package}.things.refusing", "width": 1})
    assert caught.value.facts["found"] == "RuntimeError: width is never right"
    inner = {"_target_": f"{package}.things.refusing", "width": 1}
    with pytest.raises(ConfigError) as caught:
        build_target({"_target_": f"{package}.things.Thing", "width": inner})
    assert caught.value.facts["found"] == "RuntimeError: width is never right"


def test_nothing_in_the_arguments_is_evaluated(package):
    hidden = "${oc.create:{_target_: os.getcwd}}"
    with pytest.raises(ConfigError, match="the arguments of a part must be plain values"):
        build_target({"_target_": f"{package}.things.Thing", "width": hidden})


def test_targets_are_found_wherever_hydra_would_find_them():
    spec = {"_target_": "a.B", "c": ({"_target_": "d.E", "f": {"g": [{"_target_": "h.I"}]}},)}
    assert targets_in(spec) == ["a.B", "d.E", "h.I"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"_target_": "no_such_package.Net"}, "cannot be imported (ModuleNotFoundError: No module named 'no_such_pack"),
        ({"_target_": "PKG.things.Thingg"}, "cannot be imported (PKG.things has no Thingg); did you mean Thing?"),
        ({"_target_": "PKG.thing.Thing"}, "cannot be imported (PKG has no thing)"),
        ({"_target_": "PKG.broken.Net"}, "(ModuleNotFoundError: No module named 'no_such_module_anywhere')"),
        ({"_target_": "PKG.worse.Net"}, "cannot be imported (ZeroDivisionError: division by zero)"),
        ({"_target_": "PKG.things.NUMBER"}, "must name a class or function (int)"),
        ({"_target_": ".things"}, "must name a class or function (NoneType)"),
        ({"_target_": None}, "cannot be imported (ModuleNotFoundError: No module named 'None')"),
        ({"_target_": "PKG.things.Thing"}, "network.width: must be given"),
        (
            {"_target_": "PKG.things.Thing", "width": 1, "dept": 3},
            "network.dept: no such key; allowed: width, depth, extra; did you mean depth?",
        ),
        (
            {"_target_": "PKG.things.Thing", "width": [{"_target_": "PKG.things.Thing", "hue": 1}]},
            "network.width.0.hue: no such key; allowed: width, depth, extra",
        ),
        ({"_target_": "PKG.things.Thing", "width": {"a": {"_target_": "x.y"}}}, "network.width.a._target_=x.y: x.y ca"),
    ],
)
def test_a_mistake_is_explained(package, spec, expected):
    def named(value):
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        if isinstance(value, list):
            return [named(item) for item in value]
        return value.replace("PKG", package) if isinstance(value, str) else value

    assert expected.replace("PKG", package) in "\n".join(target_mistakes("network", named(spec)))


def test_sound_specs_have_no_mistakes(package):
    assert target_mistakes("network", {"_target_": f"{package}.things.Thing"}, given=["width"]) == []
    assert target_mistakes("x", {"_target_": f"{package}.things.open_thing", "first": 1, "more": 2}) == []
    assert target_mistakes("x", {"_target_": f"{package}.things.Thing", "_args_": [1]}) == []
    assert target_mistakes("x", {"_target_": "builtins.dict", "a": 1}) == []  # written in C, without a signature
    assert target_mistakes("x", {"_target_": f"{package}.things.Thing", "width": 1, "_convert_": "all"}) == []
