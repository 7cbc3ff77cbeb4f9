"""What a configuration says of initial weights and of fine-tuning."""

from typing import Annotated, Literal

from annotated_types import Interval
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked_dataclass

from segpipe.config.schema import Settings

Fraction = Annotated[float, Interval(ge=0, le=1)]
Axes = Literal["xyz", "xzy", "yxz", "yzx", "zxy", "zyx"]


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", populate_by_name=True))
class Initialisation:
    """Where weights come from before the first step; the section `init` of the configuration.

    Args:
        source: A model folder or the name of a shipped one, a run folder, a MONAI bundle, a file of weights, or a name
            of `known_weights`; None draws them all at random. In the configuration it is called `from`.
        min_share: Of the network's parameters that must be loaded.
        axes: The order of the spatial axes in the source's kernels: `zyx` where it was trained on arrays of slices.
        licence: Of the source, where it names none itself.
    """

    source: Annotated[str | None, Field(alias="from")] = None
    min_share: Fraction = 0.5
    axes: Axes = "xyz"
    licence: str | None = None


def initialisation_of(settings: Settings) -> Initialisation:
    """Where the configuration takes weights from; those of earlier runs, which do not say it, draw them."""
    init: Initialisation | None = settings.init
    return init or Initialisation()
