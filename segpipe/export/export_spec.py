"""What is released: a network with its recipe, and the names of the files that carry it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any

from torch import nn

from segpipe.config.bounds import OVERLAP
from segpipe.export.second_stage import StageModel
from segpipe.geometry import round_up
from segpipe.networks import input_sizes, is_shipped
from segpipe.networks.definition import monai_definition
from segpipe.networks.probe import InputSizes
from segpipe.parts.building import name_of
from segpipe.preprocessing.recipe import Recipe, Shape

SIGNATURE = "segpipe.json.sig"
FORMAT = "segpipe-model-1"
INDEX = "segpipe.json"
WEIGHTS = "models/model.safetensors"
ONNX = "models/model.onnx"
MONAI_WEIGHTS = "models/model.pt"
TORCHSCRIPT = "models/model.ts"
PROGRAM = "models/model.pt2"
METADATA = "configs/metadata.json"
INFERENCE = "configs/inference.json"
CARD = "docs/README.md"
EXPORTED = "exported"
"""What the index calls the network of a folder that holds it as a program, since it is none that segpipe ships."""

TRAINED_BY = "trained_by"
"""Where the facts of a model folder say how the model was trained."""


@dataclass(frozen=True)
class Release:
    """What is written into a model folder.

    Args:
        network: In eval mode, float32, on the CPU.
        spec: Name and keys that it is built from.
        recipe: How its scans are prepared.
        operating_point: Threshold, smallest volume, lowest mean probability, flips, overlap, FROC curve.
        about: Plain data for the model card: data, split, figures.
        settled: Which inputs the exported programs take; None for all that the network takes.
        second_stage: What looks again at what the network finds, if anything does.
    """

    network: nn.Module
    spec: Mapping[str, Any]
    recipe: Recipe
    operating_point: Mapping[str, Any]
    about: Mapping[str, Any]
    settled: InputSizes | None = None
    second_stage: StageModel | None = None

    @cached_property
    def sizes(self) -> InputSizes:
        """Which inputs the network and its programs take."""
        return self.settled or input_sizes(self.spec, self.network, self.recipe.patch)

    @property
    def shipped(self) -> bool:
        """Whether segpipe has the network itself; one from elsewhere travels as a program."""
        return is_shipped(self.spec)

    @property
    def network_name(self) -> str:
        """What the network is called."""
        return name_of(self.spec)

    @property
    def divisor(self) -> Shape:
        """What the network's input must be a multiple of."""
        return self.sizes.divisor

    @property
    def window(self) -> Shape:
        """The recipe's patch, rounded up to a size that the network takes."""
        return round_up(self.recipe.patch, self.divisor)

    @property
    def fixed_shape(self) -> Shape | None:
        """The only spatial size of the ONNX model, for a network whose program depends on the size."""
        return self.window if self.sizes.fixed else None

    @property
    def one_pass(self) -> bool:
        """Whether a bundle runs a VOI as it is; windows of a network that takes one size slide over it."""
        return self.recipe.scope == "voi" and (self.shipped or not self.sizes.fixed)

    @property
    def free_divisor(self) -> Shape | None:
        """What the ONNX model's sizes may be multiples of; None when they are fixed."""
        return None if self.fixed_shape else self.divisor

    @property
    def monai(self) -> dict[str, Any] | None:
        """MONAI's class and arguments, or None for a network that only segpipe has."""
        return monai_definition(self.network)

    @property
    def exclusive(self) -> bool:
        """Whether the channels share a softmax; else each is a region with a sigmoid of its own."""
        return self.recipe.label_map.exclusive

    @property
    def for_other_tools(self) -> "Release":
        """The same without the lowest confidence, which other tools could not compare: they have no second stage."""
        if self.second_stage is None:
            return self
        point = self.operating_point
        classes = {name: {**own, "min_probability": 0.0} for name, own in point.get("classes", {}).items()}
        return replace(self, operating_point={**point, "min_probability": 0.0, "classes": classes})

    @property
    def class_points(self) -> dict[str, Mapping[str, Any]]:
        """Of several classes the operating point of each; of one class none."""
        classes = self.recipe.label_map.classes if len(self.recipe.label_map.classes) > 1 else ()
        own = self.operating_point.get("classes", {})
        return {label.name: own.get(label.name, self.operating_point) for label in classes}

    @property
    def threshold(self) -> float:
        """Probability from which a voxel is foreground."""
        return float(self.operating_point.get("threshold", 0.5))

    @property
    def min_volume_mm3(self) -> float:
        """Smaller components are removed."""
        return float(self.operating_point.get("min_volume_mm3", 0.0))

    @property
    def min_probability(self) -> float:
        """Components with a lower mean probability leave."""
        return float(self.operating_point.get("min_probability", 0.0))

    @property
    def flips(self) -> tuple[int, ...]:
        """Axes of test-time flips."""
        return tuple(int(axis) for axis in self.operating_point.get("flips", ()))

    @property
    def overlap(self) -> float:
        """Part of a window that neighbours share at least."""
        return float(self.operating_point.get("overlap", OVERLAP))

    @property
    def on_phantom(self) -> bool:
        """Whether the scans are generated phantoms, whose figures say nothing about patients."""
        return not {"phantom", "implanted_phantom"}.isdisjoint((self.about.get("data"), self.about.get("source")))


def plain(value: Any) -> Any:
    """Turns mappings, sequences and NumPy numbers into what JSON knows; undefined numbers become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
