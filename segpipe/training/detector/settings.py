"""What a run may be told of its detector: the section `detector` of its configuration."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval
from pydantic import ConfigDict, FiniteFloat, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from segpipe.export.second_stage import CandidateLayers
from segpipe.spelling import did_you_mean, no_such_key
from segpipe.validation import mistakes_in

_NAMES = ("one_stage", "two_stage")


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TwoStage:
    """How a second stage is learnt.

    Args:
        name: Of the option.
        crop_mm: The edge of what it sees around a candidate.
        layers: What its network is built from.
        candidates_per_scan: So many of the most confident candidates of a scan are learnt from, or chosen on.
        steps: Optimizer steps.
        batch_size: Candidates per step, half of them lesions.
        lr: Largest learning rate, of AdamW; it rises for a tenth of the steps and falls to zero.
    """

    name: Literal["two_stage"]
    crop_mm: Annotated[FiniteFloat, Interval(ge=8, le=128)]
    layers: CandidateLayers
    candidates_per_scan: Annotated[int, Ge(1)]
    steps: Annotated[int, Gt(0)]
    batch_size: Annotated[int, Ge(2)]
    lr: Annotated[FiniteFloat, Gt(0)]


def check_detector(section: str, config: Mapping[str, Any]) -> tuple[TwoStage | None, list[str]]:
    """Makes the section: None for one stage."""
    given, recipe = config[section], config.get("recipe")
    name = given.get("name")
    if name not in _NAMES:
        return None, [
            f"{section}.name={name!s:.80}: must be one of {', '.join(_NAMES)}{did_you_mean(str(name), _NAMES)}"
        ]
    if name == "one_stage":
        return None, [f"{section}.{key}: {no_such_key(key, ['name'])}" for key in given if key != "name"]
    try:
        made = TypeAdapter(TwoStage).validate_python(dict(given))
    except ValidationError as error:
        return None, mistakes_in(error, TwoStage, section)
    if getattr(recipe, "scope", "scan") != "scan":
        return None, [f"{section}=two_stage: searches whole scans, so recipe.scope must be scan; leave it at one_stage"]
    return made, []
