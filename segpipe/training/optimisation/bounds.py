"""The numbers that optimizers take, each with its bounds."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval

Groups = list[dict[str, Any]]
Rate = Annotated[float, Gt(0.0)]
Decay = Annotated[float, Ge(0.0)]
Share = Annotated[float, Interval(ge=0.0, lt=1.0)]
Weight = Annotated[float, Interval(gt=0.0, lt=1.0)]
Steps = Annotated[int, Gt(0)]
Betas = tuple[Share, Share]


def pair(betas: Betas) -> tuple[float, float]:
    """Both numbers as optimizers take them.

    >>> pair((0, 0.9))
    (0.0, 0.9)
    """
    first, second = betas
    return float(first), float(second)
