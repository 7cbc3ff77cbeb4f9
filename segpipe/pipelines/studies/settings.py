"""What a study compares, and at what cost: the section `study` of its configuration."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, MinLen
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from segpipe.validation import mistakes_in

Sections = dict[str, Any]
CHANGE = "change"
_FORBID = ConfigDict(extra="forbid")


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("must be different seeds")
    return seeds


@dataclass(frozen=True, config=_FORBID)
class Pruning:
    """When a rate is given up.

    Args:
        after: Share of the steps before which none is.
        margin: How far its pseudo-Dice lies below the best of the same candidate's at the same step, of the same seed.
    """

    after: Annotated[float, Interval(ge=0, lt=1)]
    margin: Annotated[float, Gt(0)]


@dataclass(frozen=True, config=_FORBID)
class Variant:
    """A candidate with some keys changed, at the candidate's best rate.

    Args:
        of: The candidate.
        change: The keys, in their sections.
    """

    of: str
    change: Annotated[Sections, MinLen(1)]


@dataclass(frozen=True, config=_FORBID)
class Study:
    """What is compared.

    Args:
        candidates: By name, each the sections in which it differs from the configuration, whole, and under `change` the
            keys in which it differs in others. Without an optimizer of its own it has the configuration's.
        rates: How many learning rates each is tried with, around the one that its section has.
        spacing: Ratio of neighbouring rates.
        seeds: Of the runs at the best rate; rates are searched with the first.
        pruning: When a rate is given up; None gives none up.
        variants: By name; trained with the first seed.
        reference: The candidate that the others are compared with; None: the best.
        parallel: How many rows are trained side by side, in processes of their own.
    """

    candidates: Annotated[dict[str, Sections], MinLen(1)]
    rates: Annotated[int, Gt(0)]
    spacing: Annotated[float, Gt(1)]
    seeds: Annotated[list[Annotated[int, Ge(0)]], MinLen(1), AfterValidator(_different)]
    pruning: Pruning | None
    variants: dict[str, Variant] = field(default_factory=dict)
    reference: str | None = None
    parallel: Annotated[int, Gt(0)] = 1

    @model_validator(mode="after")
    def _fits(self) -> "Study":
        for name, sections in self.candidates.items():
            if "lr" not in sections.get("optimizer", {}):
                raise ValueError(f"candidates.{name} must have an optimizer with a rate (optimizer.lr)")
        if self.reference is not None and self.reference not in self.candidates:
            raise ValueError(f"reference must be one of {', '.join(self.candidates)}; found {self.reference}")
        for name, variant in self.variants.items():
            if variant.of not in self.candidates:
                raise ValueError(f"variants.{name}.of must be one of {', '.join(self.candidates)}; found {variant.of}")
        return self

    def rates_of(self, candidate: str) -> list[float]:
        """The rates in the order in which they are tried: the candidate's own first, then ever farther from it."""
        own = float(self.candidates[candidate]["optimizer"]["lr"])
        powers = sorted(range(-((self.rates - 1) // 2), self.rates // 2 + 1), key=abs)
        return [float(f"{own * self.spacing**power:.2g}") if power else own for power in powers]


def check_study(section: str, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Makes the section of a configuration, whose optimizer candidates have that name none themselves."""
    given, optimizer = dict(config[section]), config.get("optimizer")
    if isinstance(given.get("candidates"), Mapping):
        own = {name: sections or {} for name, sections in given["candidates"].items()}
        given["candidates"] = {
            name: {"optimizer": optimizer, **sections} if isinstance(sections, Mapping) else sections
            for name, sections in own.items()
        }
    try:
        return TypeAdapter(Study).validate_python(given), []
    except ValidationError as error:
        return config[section], mistakes_in(error, Study, section)
