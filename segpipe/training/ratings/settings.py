"""What a run of ratings may be told: the section `ratings` of its configuration."""

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Gt, MinLen
from pydantic import AfterValidator, ConfigDict
from pydantic.dataclasses import dataclass

from segpipe.config.schema import made_into
from segpipe.export.rating_folder import RatingLayers
from segpipe.labels.ratings import RATING_SCALES, RatingScale
from segpipe.preprocessing.rating_crop import RatingCrop
from segpipe.training.transfer.settings import FineTuning, Initialisation

_AT_RANDOM = "a run of ratings begins with random weights, so that no fold has seen the nodules that it rates"


def _known(names: list[str]) -> list[str]:
    if unknown := [name for name in names if name not in RATING_SCALES]:
        raise ValueError(f"must be some of {', '.join(RATING_SCALES)}; found {', '.join(unknown)}")
    if len(set(names)) < len(names):
        raise ValueError("must name each rating once")
    return names


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RatingSettings:
    """How ratings are learnt.

    Args:
        names: The ratings, columns of the data set's table.
        crop: What the network sees of a scan.
        layers: What it is built from.
        steps: Optimizer steps of each fold.
        batch_size: Nodules per step.
    """

    names: Annotated[list[str], MinLen(1), AfterValidator(_known)]
    crop: RatingCrop
    layers: RatingLayers
    steps: Annotated[int, Gt(0)]
    batch_size: Annotated[int, Ge(1)]

    @property
    def scales(self) -> tuple[RatingScale, ...]:
        """The scales of the ratings."""
        return tuple(RATING_SCALES[name] for name in self.names)


def check_ratings(section: str, config: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Makes the section, and finds what a run of ratings would not heed: it begins with random weights.

    Every nodule is rated by a network that has seen none of its patients, which nobody knows of weights from elsewhere.
    """
    made, mistakes = made_into(RatingSettings)(section, config)
    init, tuning = config.get("init"), config.get("finetune")
    if isinstance(init, Initialisation) and init.source is not None:
        mistakes.append(f"init.from={init.source}: {_AT_RANDOM}; leave it out")
    if isinstance(tuning, FineTuning) and tuning != FineTuning():
        mistakes.append(f"finetune.name={tuning.name}: {_AT_RANDOM}, and learns them all; leave finetune out")
    return made, mistakes
