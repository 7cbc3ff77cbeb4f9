"""The bounds of augmentation's numbers, kept at the parameters themselves: whoever makes a transform is checked."""

from collections.abc import Callable
from functools import wraps
from typing import Annotated, ParamSpec, TypeVar

from annotated_types import Gt, Interval
from pydantic import AfterValidator, FiniteFloat, ValidationError, validate_call

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Pair = tuple[float, float]


def _check_order(ends: Pair) -> Pair:
    if ends[0] > ends[1]:
        raise ValueError("must go from its lower to its upper end")
    return ends


_Positive = Annotated[FiniteFloat, Gt(0)]
_Part = Annotated[FiniteFloat, Interval(gt=0, le=1)]
_NotNegative = Annotated[FiniteFloat, Interval(ge=0)]
Probability = Annotated[float, Interval(ge=0, le=1)]
Degrees = Annotated[float, Interval(ge=0, le=180)]
DisplacementMm = Annotated[float, Interval(ge=0, le=20)]
AnyRange = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_check_order)]
RangeFromZero = Annotated[tuple[_NotNegative, _NotNegative], AfterValidator(_check_order)]
PositiveRange = Annotated[tuple[_Positive, _Positive], AfterValidator(_check_order)]
PartRange = Annotated[tuple[_Part, _Part], AfterValidator(_check_order)]
Keys = str | tuple[str, ...]


def checked(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Holds a function's arguments to its annotations.

    Raises:
        ValueError: naming every argument out of bounds.
    """
    call = validate_call(function)

    @wraps(function)
    def checking(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        try:
            return call(*args, **kwargs)
        except ValidationError as error:
            raise ValueError("; ".join(_line(item) for item in error.errors())) from None

    return checking


def _line(item: object) -> str:
    assert isinstance(item, dict)
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{'.'.join(str(key) for key in item['loc'])}={item['input']}: {message[:1].lower()}{message[1:]}"
