"""Augmentation: named transforms in their order, of MONAI, of segpipe or of anybody, and one generator for all.

A mapping and not a list, because Hydra overrides, adds and deletes by key: `augmentation.noise.prob=0.3`,
`~augmentation.noise`, `+augmentation.mine._target_=…`. Entries of a list have no names for that.
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from monai.transforms import Randomizable

from segpipe.errors import ConfigError, SegpipeError
from segpipe.parts import TARGET, build_target, target_mistakes
from segpipe.preprocessing.augmentation.randomness import seeded_globals, state_of
from segpipe.preprocessing.augmentation.spatial import SpatialTransform
from segpipe.preprocessing.augmentation.spatial_transform import RandSpatiald
from segpipe.preprocessing.recipe import Recipe, Shape, Triple

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
        return not all(_is_own(transform) for transform in self.transforms.values())


def build_augmentation(spec: Mapping[str, Any]) -> Augmentation:
    """Builds the augmentation of a section `augmentation`: name → `_target_` and its arguments.

    Raises:
        ConfigError: naming every mistake in it.
    """
    augmentation, mistakes = check_augmentation("augmentation", {"augmentation": spec})
    if mistakes:
        facts = {str(number): line for number, line in enumerate(mistakes, start=1)}
        raise ConfigError("the augmentation cannot be built", facts=facts)
    return augmentation


def check_augmentation(section: str, config: Mapping[str, Any]) -> tuple[Augmentation, list[str]]:
    """Builds what can be built and tries what is not segpipe's own; returns it with all mistakes, one line each.

    Args:
        section: The section's name.
        config: Holds the section and, where it is sound, the recipe, on whose patch the transforms are tried.
    """
    built: dict[str, Transform] = {}
    mistakes: list[str] = []
    for name, arguments in config[section].items():
        try:
            built[name] = _build(f"{section}.{name}", arguments)
        except _MistakesError as error:
            mistakes += error.mistakes
    recipe = config.get("recipe")
    foreign = {name: transform for name, transform in built.items() if not _is_own(transform)}
    if isinstance(recipe, Recipe):
        mistakes += [mistake for name in foreign for mistake in _trial_mistakes(name, foreign[name], recipe.patch)]
    return Augmentation(built), mistakes


class _MistakesError(Exception):
    def __init__(self, mistakes: list[str]) -> None:
        super().__init__(mistakes)
        self.mistakes = mistakes


def _build(path: str, arguments: Any) -> Transform:
    if not isinstance(arguments, Mapping) or TARGET not in arguments:
        raise _MistakesError(
            [f"{path}: must have a {TARGET}, e.g. {path}.{TARGET}=monai.transforms.RandGaussianNoised"]
        )
    mistakes = target_mistakes(path, arguments)
    if mistakes:
        raise _MistakesError(mistakes)
    try:
        transform: Transform = build_target(arguments)
    except ConfigError as error:
        raise _MistakesError([f"{path}: {error.message} ({error.facts['found']})"]) from error
    if not callable(transform):
        raise _MistakesError([f"{path}: must build a transform that can be called with a patch"])
    return transform


def _is_own(transform: Transform) -> bool:
    return type(transform).__module__.startswith(_OWN)


def _trial_mistakes(name: str, transform: Transform, patch: Shape) -> list[str]:
    """What goes wrong on a patch, or differs when the same patch is made again."""
    image = torch.rand(1, *patch, generator=torch.Generator().manual_seed(0))
    made = []
    try:
        for _ in range(2):
            given = {"image": image.clone(), "label": (image > 0.5).to(torch.uint8)}
            made.append(Augmentation({name: transform}).apply(given, np.random.default_rng(0)))
    except ConfigError as error:
        return [f"{error.facts['transform']}: {error.message} ({error.facts['found']})"]
    if all(torch.equal(made[0][key], made[1][key]) for key in made[0]):
        return []
    return [
        f"augmentation.{name}: must make the same patch again from the same seed; draw from self.R of a"
        " monai.transforms.Randomizable, or from the global random numbers of Python, numpy or torch"
    ]


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
