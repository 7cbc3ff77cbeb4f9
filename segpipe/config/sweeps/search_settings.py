"""What a search by Optuna may be told: Hydra's section `hydra.sweeper`."""

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

_FORBID = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_FORBID)
class TrialPruning:
    """When a trial is given up: at a validation where its best figure so far is worse than half of the others' there.

    Args:
        startup: Trials that come to their end before any is given up.
        after: Share of the steps before which none is.
    """

    startup: Annotated[int, Ge(1)]
    after: Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True, config=_FORBID)
class SearchSettings:
    """How a space is searched.

    Args:
        trials: How many there are in all.
        parallel: How many the launcher gets at once.
        objective: The figure of a validation that is compared.
        direction: Whether the largest is the best, or the smallest.
        seed: Of the trials' choice.
        startup: Trials at random before any is chosen by those before it.
        pruning: When a trial is given up; None gives none up.
        params: By key what it may be, in Hydra's words for sweeps.
    """

    trials: Annotated[int, Gt(0)]
    parallel: Annotated[int, Gt(0)]
    objective: Annotated[str, MinLen(1)]
    direction: Literal["maximize", "minimize"]
    seed: Annotated[int, Ge(0)]
    startup: Annotated[int, Ge(1)]
    pruning: TrialPruning | None
    params: dict[str, str] = field(default_factory=dict)
