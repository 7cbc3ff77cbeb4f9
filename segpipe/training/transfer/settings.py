"""What a configuration says of initial weights and of fine-tuning."""

from typing import Annotated, Literal, Self

from annotated_types import Interval
from pydantic import ConfigDict, Field, model_validator
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
        continues: Whether the training goes on with the source as it was trained; `+experiment=continue` says so.
    """

    source: Annotated[str | None, Field(alias="from")] = None
    min_share: Fraction = 0.5
    axes: Axes = "xyz"
    licence: str | None = None
    continues: bool = False


@checked_dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class FineTuning:
    """Which weights are learnt from when on, and how fast; the section `finetune` of the configuration.

    Args:
        name: `full` learns all of them, `head` and `decoder` never change what lies before, `gradual` releases the
            encoder stage by stage.
        layer_decay: The learning rate of each stage as a share of the next one's; the head has the optimizer's.
        release: Of `gradual`: the shares of the run after which the deepest and the first stage are released.
    """

    name: Literal["full", "head", "decoder", "gradual"] = "full"
    layer_decay: Annotated[float, Interval(gt=0, le=1)] = 1.0
    release: tuple[Fraction, Fraction] | None = None

    @model_validator(mode="after")
    def _check_release(self) -> Self:
        if (self.name == "gradual") != (self.release is not None):
            raise ValueError("gradual, and no other, must say when it releases the encoder: release: [0.2, 0.6]")
        if self.release and self.release[0] > self.release[1]:
            raise ValueError(
                "release must name the deepest stage's share of the run first, which comes before the other"
            )
        return self

    @property
    def needs_stages(self) -> bool:
        """Whether the network must say what its encoder, decoder and head are."""
        return self.name != "full" or self.layer_decay < 1


def fine_tuning_of(settings: Settings) -> FineTuning:
    """What the configuration learns when; the configurations of earlier runs learn all of it at once."""
    tuning: FineTuning | None = settings.finetune
    return tuning or FineTuning()


def initialisation_of(settings: Settings) -> Initialisation:
    """Where the configuration takes weights from; those of earlier runs, which do not say it, draw them."""
    init: Initialisation | None = settings.init
    return init or Initialisation()
