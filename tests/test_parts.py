import pytest

from segpipe.errors import ConfigError
from segpipe.parts import build_part, check_name, keys_of


def lens(width: int, *, zoom: float, glass: str = "clear") -> tuple[int, float, str]:
    if zoom < 0:
        raise ValueError("zoom below zero")
    return width, zoom, glass


LENSES = {"lens": lens}


def test_a_part_gets_positional_arguments_and_keys() -> None:
    assert build_part("lens", LENSES, {"name": "lens", "zoom": 2.0}, 7) == (7, 2.0, "clear")
    assert list(keys_of(lens)) == ["zoom", "glass"]


def test_names_outside_the_list_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown lens") as caught:
        check_name("lens", LENSES, {"name": "os.system"})
    assert caught.value.facts == {"found": "os.system", "known": "lens"}
    assert caught.value.hint is None
    with pytest.raises(ConfigError, match="unknown lens"):
        check_name("lens", LENSES, {})


def test_keys_are_told_together() -> None:
    with pytest.raises(ConfigError, match="lens lens has missing or unknown keys") as caught:
        build_part("lens", LENSES, {"name": "lens", "zom": 1, "width": 3}, 7)
    assert caught.value.facts == {"missing": "zoom", "unknown": "width, zom", "known": "zoom, glass"}


def test_values_a_builder_refuses_are_told_with_its_reason() -> None:
    with pytest.raises(ConfigError, match="cannot be built from these values") as caught:
        build_part("lens", LENSES, {"name": "lens", "zoom": -1.0}, 7)
    assert str(caught.value.facts["found"]) == "zoom below zero"
