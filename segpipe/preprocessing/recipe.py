"""The recipe: the few numbers that turn a scan into a network's input, frozen, checked and digested."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Interval, MinLen
from pydantic import AfterValidator, ConfigDict, FiniteFloat, TypeAdapter, ValidationError, ValidationInfo
from pydantic.dataclasses import dataclass

from segpipe.errors import ModelError, numbered
from segpipe.labels import LabelMap, ignore_mistakes, label_mistakes, region_mistakes
from segpipe.preprocessing.voxel_transforms import check_transform
from segpipe.validation import mistakes_in

Value = TypeVar("Value")
Triple = tuple[float, float, float]
Shape = tuple[int, int, int]

_AXES = ({"R", "L"}, {"A", "P"}, {"S", "I"})


def _check_orientation(letters: str) -> str:
    if len(letters) != 3 or not all(any(letter in axis for letter in letters) for axis in _AXES):
        raise ValueError("must name one direction of each of R/L, A/P and S/I, e.g. RAS")
    return letters


def _check_window(window: tuple[float, float]) -> tuple[float, float]:
    # the cache keeps whole HU, so a narrower window would leave it a constant image
    if window[1] - window[0] < 1:
        raise ValueError("must go from the HU that become 0 up to the HU that become 1, e.g. [-1000, 400]")
    return window


def _check_labels(labels: dict[int, str] | None) -> dict[int, str] | None:
    return _without(label_mistakes(labels) if labels is not None else [], labels)


def _check_regions(regions: dict[str, list[int]] | None, info: ValidationInfo) -> dict[str, list[int]] | None:
    if regions is None or "labels" not in info.data:
        return regions
    return _without(region_mistakes(regions, info.data["labels"] or {}), regions)


def _check_ignore(ignore: int | None, info: ValidationInfo) -> int | None:
    if ignore is None or "labels" not in info.data:
        return ignore
    return _without(ignore_mistakes(ignore, info.data["labels"] or {1: ""}), ignore)


def _without(mistakes: list[str], value: Value) -> Value:
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return value


Millimetres = Annotated[FiniteFloat, Interval(ge=0.05, le=20)]
# what the cache's 16 bits hold
Hu = Annotated[FiniteFloat, Interval(ge=-32768, le=32767)]
Voxels = Annotated[int, Interval(ge=1, le=1024)]
_Transform = Annotated[dict[str, Any], AfterValidator(check_transform)]
Transforms = Annotated[tuple[_Transform, ...] | None, AfterValidator(lambda transforms: transforms or None)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Recipe:
    """How scans are prepared, for training and for prediction alike; nobody types a spacing twice.

    What its values must hold is said here alone: the configuration, a model folder and Python code are checked by it.

    Args:
        name: e.g. `ct_nodule`.
        spacing_mm: Voxel size of the network's input along its axes.
        window_hu: HU that map to 0 and 1; values outside are clipped.
        patch: Voxels of a training patch and of a sliding window.
        scope: `scan` searches a whole scan by sliding window; `voi` segments the lesion in the middle of one patch.
        orientation: Anatomical direction of the array axes, e.g. `RAS`.
        label: Name of the lesions, e.g. `nodule` or `tumour`; the one class there is, unless `labels` names several.
        lung_crop: Whether scans are cropped to the lungs' box before anything else.
        transforms: MONAI's transforms, last on the way to the network: on the window's 0…1, in training behind the
            augmentation; see `segpipe.preprocessing.voxel_transforms`.
        labels: Mask value → name of each class: 1, 2, 3, … without a gap. Without it, 1 is `label`.
        regions: Name of a region → the values of `labels` that make it up, where classes nest instead of excluding
            each other.
        ignore: Mask value of voxels that count neither in the loss nor in any figure.

    Raises:
        ValidationError: (a ValueError) naming all values out of bounds.
    """

    name: Annotated[str, MinLen(1)]
    spacing_mm: tuple[Millimetres, Millimetres, Millimetres]
    window_hu: Annotated[tuple[Hu, Hu], AfterValidator(_check_window)]
    patch: tuple[Voxels, Voxels, Voxels]
    scope: Literal["scan", "voi"] = "scan"
    orientation: Annotated[str, AfterValidator(_check_orientation)] = "RAS"
    label: Annotated[str, MinLen(1)] = "nodule"
    lung_crop: bool = False
    transforms: Transforms = None
    labels: Annotated[dict[int, str] | None, AfterValidator(_check_labels)] = None
    regions: Annotated[dict[str, list[int]] | None, AfterValidator(_check_regions)] = None
    ignore: Annotated[int | None, AfterValidator(_check_ignore)] = None

    @property
    def digest(self) -> str:
        """Digest of all that a model's input depends on; a model predicts by the recipe it was trained with alone."""
        return _digest({key: value for key, value in self.to_dict().items() if key != "name"})

    @property
    def preparation_digest(self) -> str:
        """Digest of what a prepared case depends on: recipes that differ in the patch alone share their cases."""
        used = ("orientation", "spacing_mm", "window_hu", "lung_crop")
        return _digest({key: self.to_dict()[key] for key in used})

    @cached_property
    def label_map(self) -> LabelMap:
        """The classes of the task."""
        if self.labels is None:
            return replace(LabelMap.of(self.label), ignore=self.ignore)
        return LabelMap.build(self.labels, regions=self.regions, ignore=self.ignore)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back; what is not given is left out, so that old digests stay."""
        values = {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> "Recipe":
        """Reads a recipe from plain data.

        Raises:
            ModelError: naming all keys that are missing or unknown and all values out of bounds.
        """
        try:
            return TypeAdapter(cls).validate_python(dict(numbers))
        except ValidationError as error:
            raise ModelError(
                "the recipe is not valid",
                facts=numbered(mistakes_in(error, cls, "recipe")),
                hint="the model belongs to another version of segpipe, or its recipe was changed by hand",
            ) from error


def _digest(numbers: Mapping[str, Any]) -> str:
    """First 16 hex digits of the SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:16]
