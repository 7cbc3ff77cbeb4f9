"""Augmentation: named transforms in their order, of MONAI, of segpipe or of anybody, and one generator for all."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable

from segpipe.errors import ConfigError, SegpipeError
from segpipe.preprocessing.augmentation.randomness import seeded_globals, state_of
from segpipe.preprocessing.augmentation.spatial import SpatialTransform
from segpipe.preprocessing.augmentation.spatial_transform import RandSpatiald
from segpipe.preprocessing.recipe import Triple

Patch = dict[str, torch.Tensor]
Transform = Callable[[Patch], Patch]
_OWN = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class Augmentation:
    """What a training patch goes through.

    Args:
        transforms: Name → a callable on a patch: `image` float32 (1, x, y, z) in 0…1 and `label` uint8 (1, x, y, z).
            A `RandSpatiald` that comes first decides which box of the scan is read.
    """

    transforms: Mapping[str, Transform] = field(default_factory=dict)

    def draw_motion(self, rng: np.random.Generator, spacing_mm: Triple) -> SpatialTransform:
        """How the patch is taken from a scan on a grid of `spacing_mm`."""
        first = next(iter(self.transforms.values()), None)
        if not isinstance(first, RandSpatiald):
            return SpatialTransform()
        first.set_random_state(state=state_of(rng))
        motion: SpatialTransform = first.randomize(spacing_mm)
        return motion

    def apply(self, patch: Patch, rng: np.random.Generator) -> Patch:
        """Applies the transforms behind the reading; the image stays in 0…1, as it will be in prediction.

        Raises:
            ConfigError: when a transform fails or changes the patch's shape.
        """
        names = [name for number, name in enumerate(self.transforms) if number or not self._reads]
        if not names:
            return patch
        state = state_of(rng)
        with seeded_globals(rng) if self._has_foreign else nullcontext():
            for name in names:
                patch = _apply(name, self.transforms[name], patch, state)
        return {**patch, "image": patch["image"].clamp(0.0, 1.0)}

    @property
    def _reads(self) -> bool:
        return isinstance(next(iter(self.transforms.values()), None), RandSpatiald)

    @property
    def _has_foreign(self) -> bool:
        return not all(is_own(transform) for transform in self.transforms.values())


def is_own(transform: Transform) -> bool:
    """Whether segpipe ships it; of others it is not known where their random numbers come from."""
    return type(transform).__module__.startswith(_OWN)


def _apply(name: str, transform: Transform, patch: Patch, state: np.random.RandomState) -> Patch:
    if isinstance(transform, Randomizable):
        transform.set_random_state(state=state)
    try:
        changed = transform(dict(patch))
        return {key: _plain(changed[key], before) for key, before in patch.items()}
    except SegpipeError:
        raise
    except Exception as error:  # whatever foreign code raises
        raise ConfigError(
            "a transform of the augmentation fails on a patch",
            facts={"transform": f"augmentation.{name}", "found": f"{type(error).__name__}: {error}"},
            hint=f"python -m segpipe … ~augmentation.{name}   trains without it",
        ) from error


def _plain(value: Any, before: torch.Tensor) -> torch.Tensor:
    """A plain tensor of the kind that went in.

    Raises:
        ValueError: when its shape is another.
    """
    tensor = torch.as_tensor(value).as_subclass(torch.Tensor)
    if tensor.shape != before.shape:
        raise ValueError(f"the patch must keep its shape {tuple(before.shape)}, got {tuple(tensor.shape)}")
    if tensor.dtype == before.dtype:
        return tensor
    return (tensor if before.is_floating_point() else tensor.round()).to(before.dtype)
