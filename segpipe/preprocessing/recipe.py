"""The recipe: the few numbers that turn a scan into a network's input, frozen and digested."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from segpipe.errors import ModelError
from segpipe.labels import LabelMap

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Recipe:
    """How scans are prepared, for training and for prediction alike; nobody types a spacing twice.

    Args:
        name: e.g. `ct_nodule`.
        scope: `scan` searches a whole scan by sliding window; `voi` segments the lesion in the middle of one patch.
        orientation: Anatomical direction of the array axes, e.g. `RAS`.
        spacing_mm: Voxel size of the network's input along these axes.
        window_hu: HU that map to 0 and 1; values outside are clipped.
        patch: Voxels of a training patch and of a sliding window.
        label: Name of the foreground label, `nodule` or `tumour`.
        lung_crop: Whether scans are cropped to the lungs' box before anything else.
    """

    name: str
    spacing_mm: Triple
    window_hu: tuple[float, float]
    patch: Shape
    scope: Literal["scan", "voi"] = "scan"
    orientation: str = "RAS"
    label: str = "nodule"
    lung_crop: bool = False

    def __post_init__(self) -> None:
        x, y, z = self.spacing_mm
        low, high = self.window_hu
        px, py, pz = self.patch
        object.__setattr__(self, "spacing_mm", (float(x), float(y), float(z)))
        object.__setattr__(self, "window_hu", (float(low), float(high)))
        object.__setattr__(self, "patch", (int(px), int(py), int(pz)))

    @property
    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 of all numbers of the recipe; equal digests prepare scans equally."""
        numbers = {key: value for key, value in self.to_dict().items() if key != "name"}
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def labels(self) -> LabelMap:
        """The label map of the recipe's task."""
        return LabelMap.of(self.label)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` reads back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> "Recipe":
        """Reads a recipe from plain data.

        Raises:
            ModelError: when keys are missing or unknown.
        """
        known = {item.name for item in fields(cls)}
        required = {"name", "spacing_mm", "window_hu", "patch"}
        if set(numbers) - known or required - set(numbers):
            raise ModelError(
                "the recipe has missing or unknown keys",
                facts={
                    "missing": ", ".join(sorted(required - set(numbers))) or "none",
                    "unknown": ", ".join(sorted(set(numbers) - known)) or "none",
                },
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in numbers.items()
        }
        return cls(**values)
