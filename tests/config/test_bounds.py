"""Bounds are said once: the configuration and the functions that take the same values refuse the same."""

import pytest

from segpipe.cli.train import registries
from segpipe.config.compose import compose
from segpipe.errors import ConfigError
from segpipe.inference.options import PredictOptions


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("overlap", 1.0, "input should be less than 1"),
        ("overlap", -0.1, "input should be greater than or equal to 0"),
        ("flips", [3], "input should be less than or equal to 2"),
        ("flips", [0, 0], "must be different axes"),
    ],
)
def test_the_same_values_are_refused_in_the_configuration_and_in_python(key, value, expected):
    with pytest.raises(ConfigError, match=expected):
        compose([f"evaluation.{key}={value}".replace(" ", "")], registries)
    with pytest.raises(ConfigError, match=f"{key} must be within its bounds: {expected}") as caught:
        PredictOptions(**{key: tuple(value) if isinstance(value, list) else value})
    assert "found" in caught.value.facts


def test_a_batch_of_windows_has_at_least_one():
    assert PredictOptions(batch=None).batch is None
    with pytest.raises(ConfigError, match="batch must be within its bounds: input should be greater"):
        PredictOptions(batch=0)
