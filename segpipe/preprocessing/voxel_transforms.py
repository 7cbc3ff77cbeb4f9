"""The transforms that a recipe may add: MONAI's own, of a closed list, each of which changes every voxel by itself.

Only such give the same values to a training patch, a slice that prediction streams, a sliding window and a whole scan
in MONAI's bundle. And only a name of this list is ever looked up, because recipes come in foreign model folders, too.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from annotated_types import Predicate
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from segpipe.validation import mistakes_in

_TARGET = "_target_"
_PREFIX = "monai.transforms."


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NormalizeIntensity(_Arguments):
    """Takes `subtrahend` away and divides by `divisor`."""

    subtrahend: FiniteFloat
    divisor: Annotated[FiniteFloat, Predicate(bool)]


class ScaleIntensityRange(_Arguments):
    """Maps `a_min` and `a_max` to `b_min` and `b_max`; `clip` cuts off what lies outside."""

    a_min: FiniteFloat
    a_max: FiniteFloat
    b_min: FiniteFloat
    b_max: FiniteFloat
    clip: bool = False

    @model_validator(mode="after")
    def _check_range(self) -> "ScaleIntensityRange":
        if self.a_max <= self.a_min:
            raise ValueError("a_min must be below a_max")
        return self


class ShiftIntensity(_Arguments):
    """Adds `offset`."""

    offset: FiniteFloat


class ThresholdIntensity(_Arguments):
    """Replaces what is not above `threshold` (`above=false`: not below it) by `cval`."""

    threshold: FiniteFloat
    above: bool = True
    cval: FiniteFloat = 0.0


_KNOWN = {
    f"{_PREFIX}{kind.__name__}": kind
    for kind in (NormalizeIntensity, ScaleIntensityRange, ShiftIntensity, ThresholdIntensity)
}


def check_transform(spec: dict[str, Any]) -> dict[str, Any]:
    """Returns a transform of a recipe as plain data with every argument, e.g. for the recipe's digest.

    Args:
        spec: `_target_` and arguments, as in MONAI.

    Raises:
        ValueError: for a transform that is not on the list, or arguments that it does not take.
    """
    target = str(spec.get(_TARGET))
    if target not in _KNOWN:
        raise ValueError(
            f"must be one of MONAI's transforms that change each voxel by itself ({', '.join(_KNOWN)}), because patches"
            " and scans must get the same values; put any other into augmentation, or into the network"
        )
    kind = _KNOWN[target]
    try:
        arguments = kind.model_validate({key: value for key, value in spec.items() if key != _TARGET})
    except ValidationError as error:
        raise ValueError("; ".join(mistakes_in(error, kind))) from None
    return {_TARGET: target, **arguments.model_dump()}


def apply_transforms(image: torch.Tensor, transforms: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """Applies the transforms of a recipe to values that its window has brought to 0…1, of any shape."""
    for spec in transforms:
        image = _build(spec)(image)
    return image.as_subclass(torch.Tensor)


def for_bundle(transforms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for `inference.json`: MONAI's transforms on a dictionary with `image`."""
    return [
        {_TARGET: f"{spec[_TARGET].removeprefix(_PREFIX)}d", "keys": "image", **_arguments(spec)} for spec in transforms
    ]


def _build(spec: Mapping[str, Any]) -> Any:
    from monai import transforms

    return getattr(transforms, _KNOWN[spec[_TARGET]].__name__)(**_arguments(spec))


def _arguments(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != _TARGET}
