"""Where a network has taken something else for a lesion, as plain data that travels in checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segpipe.preprocessing.cache.cached_case import CachedCase
from segpipe.preprocessing.recipe import Shape
from segpipe.preprocessing.sampling import HardPlace


@dataclass(frozen=True)
class Mined:
    """The mistakes of a network.

    Args:
        step: The step after which it made them.
        found: Name of a case and a voxel of it, for each.
    """

    step: int
    found: Sequence[tuple[str, Shape]]

    def places(self, cases: Sequence[CachedCase]) -> list[HardPlace]:
        """The same with the cases' numbers."""
        number = {case.id: index for index, case in enumerate(cases)}
        return [HardPlace(number[name], voxel) for name, voxel in self.found]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"step": self.step, "found": [[name, *voxel] for name, voxel in self.found]}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Mined":
        """What `to_dict` gave."""
        return cls(content["step"], [(name, (x, y, z)) for name, x, y, z in content["found"]])
