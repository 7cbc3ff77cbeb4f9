"""Bounds that the configuration shares with the rooms above it, each said once."""

from typing import Annotated, Any

from annotated_types import Interval
from pydantic import AfterValidator, TypeAdapter, ValidationError

from segpipe.errors import ConfigError


def _check_different(axes: list[int]) -> list[int]:
    if len(set(axes)) < len(axes):
        raise ValueError("must be different axes")
    return axes


Overlap = Annotated[float, Interval(ge=0, lt=1)]
"""Part of a sliding window that neighbours share at least."""
OVERLAP = 0.5
"""Where neither the user nor the model says another."""
Flips = Annotated[list[Annotated[int, Interval(ge=0, le=2)]], AfterValidator(_check_different)]
"""Array axes of test-time flips."""
Count = Annotated[int, Interval(ge=1)]


def check_bounds(name: str, value: object, bounds: Any) -> None:
    """Refuses a value out of bounds, for parameters of functions.

    Raises:
        ConfigError: with the value.
    """
    try:
        TypeAdapter(bounds).validate_python(value)
    except ValidationError as error:
        message = str(error.errors()[0]["msg"]).removeprefix("Value error, ").lower()
        raise ConfigError(f"{name} must be within its bounds: {message}", facts={"found": value}) from error
