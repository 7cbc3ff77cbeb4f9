import pytest

from segpipe.errors import ConfigError
from segpipe.parts import Registry, build_part
from segpipe.parts.building import name_of


def lens(width: int, *, zoom: float, glass: str = "clear") -> tuple[int, float, str]:
    if zoom < 0:
        raise ValueError("zoom below zero")
    return width, zoom, glass


LENSES = Registry("lens", {"lens": lens}, group="segpipe.lenses", given=("width",))


def test_a_part_gets_what_is_handed_over_and_its_keys() -> None:
    assert build_part(LENSES, {"name": "lens", "zoom": 2.0}, width=7) == (7, 2.0, "clear")


def test_only_what_a_builder_takes_is_handed_over() -> None:
    assert build_part(LENSES, {"name": "lens", "zoom": 2.0}, width=7, height=9) == (7, 2.0, "clear")


def test_what_the_configuration_gives_wins_over_what_is_handed_over() -> None:
    assert build_part(LENSES, {"name": "lens", "zoom": 2.0, "width": 3}, width=7) == (3, 2.0, "clear")


def test_names_that_nobody_registers_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown lens") as caught:
        build_part(LENSES, {"name": "os.system"})
    assert caught.value.facts == {"found": "os.system", "known": "lens"}
    assert caught.value.hint is None
    with pytest.raises(ConfigError, match="unknown lens") as caught:
        build_part(LENSES, {"name": "lenz"})
    assert caught.value.hint == "lens=lens"


def test_wrong_keys_are_reported_together() -> None:
    with pytest.raises(ConfigError, match="lens lens has missing or unknown keys") as caught:
        build_part(LENSES, {"name": "lens", "zom": 1, "hue": 3}, width=7)
    assert caught.value.facts == {
        "1": "lens.zom: no such key; allowed: zoom, glass; did you mean zoom?",
        "2": "lens.hue: no such key; allowed: zoom, glass",
        "3": "lens.zoom: must be given",
    }


def test_values_a_builder_refuses_are_reported_with_its_reason() -> None:
    with pytest.raises(ConfigError, match="cannot be built from these values") as caught:
        build_part(LENSES, {"name": "lens", "zoom": -1.0}, width=7)
    assert caught.value.facts == {"lens": "lens", "found": "ValueError: zoom below zero"}


def test_a_target_takes_the_place_of_a_name() -> None:
    spec = {"_target_": "fractions.Fraction", "numerator": 3}
    assert build_part(LENSES, spec, denominator=4, width=7) == 0.75
    assert name_of(spec) == "Fraction"
    assert name_of({"name": "lens"}) == "lens"


def test_what_a_part_may_ignore_is_handed_only_where_its_signature_names_it() -> None:
    kept = Registry("box", {"box": dict}, group="segpipe.boxes", given=("width", "depth"), optional=("depth",))
    assert build_part(kept, {"_target_": "tests.parts.test_building.box"}, width=1, depth=2) == {"width": 1}


def box(**kept: object) -> dict[str, object]:
    return kept
