"""What a configuration says of a pretraining."""

from typing import Annotated

from annotated_types import Ge, Interval
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked_dataclass


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Pretraining:
    """What is hidden of each patch; the section `pretraining` of the configuration.

    Args:
        block: Edge of a hidden block, in voxels of the recipe's grid.
        share: Of the blocks that are hidden.
    """

    block: Annotated[int, Ge(1)]
    share: Annotated[float, Interval(gt=0, lt=1)]
