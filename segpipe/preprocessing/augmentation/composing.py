"""From the section `augmentation` of the configuration to its transforms, all mistakes in it found before any work.

The section is a mapping and not a list, because Hydra overrides, adds and deletes by key:
`augmentation.noise.prob=0.3`, `~augmentation.noise`, `+augmentation.mine._target_=…`; a list has no names for that.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from segpipe.errors import ConfigError, numbered
from segpipe.parts import TARGET, Registry, build_part
from segpipe.parts.checking import check_part
from segpipe.preprocessing.augmentation.pipeline import Augmentation, Transform, is_own
from segpipe.preprocessing.recipe import Recipe, Shape

TRANSFORMS = Registry("augmentation", {}, group="segpipe.augmentations")
"""The transforms that installed packages register; all others are named by their `_target_`."""


def build_augmentation(spec: Mapping[str, Any]) -> Augmentation:
    """Builds the augmentation of a section: name → `_target_`, or a plug-in's `name`, and its arguments.

    Raises:
        ConfigError: naming every mistake in it.
    """
    augmentation, mistakes = check_augmentation("augmentation", {"augmentation": spec})
    if mistakes:
        raise ConfigError("the augmentation cannot be built", facts=numbered(mistakes))
    return augmentation


def check_augmentation(section: str, config: Mapping[str, Any]) -> tuple[Augmentation, list[str]]:
    """Builds what can be built and tries what is not segpipe's own; returns it with all mistakes, one line each.

    Args:
        section: The section's name.
        config: Holds the section and, where it is sound, the recipe, on whose patch the transforms are tried.
    """
    built: dict[str, Transform] = {}
    mistakes: list[str] = []
    for name, spec in config[section].items():
        transform, found = _build(f"{section}.{name}", spec)
        mistakes += found
        built |= {name: transform} if transform else {}
    recipe = config.get("recipe")
    if isinstance(recipe, Recipe):
        foreign = {name: transform for name, transform in built.items() if not is_own(transform)}
        mistakes += [line for name in foreign for line in _trial_mistakes(name, foreign[name], recipe.patch)]
    return Augmentation(built), mistakes


def _build(path: str, spec: Any) -> tuple[Transform | None, list[str]]:
    if not isinstance(spec, Mapping) or not {TARGET, "name"} & set(spec):
        return None, [f"{path}: must have a {TARGET}, e.g. {path}.{TARGET}=monai.transforms.RandGaussianNoised"]
    mistakes = check_part(path, spec, TRANSFORMS, {})[1]
    if mistakes:
        return None, mistakes
    try:
        transform = build_part(TRANSFORMS, spec)
    except ConfigError as error:
        return None, [f"{path}: {error.message} ({error.facts['found']})"]
    if not callable(transform):
        return None, [f"{path}: must build a transform that can be called with a patch"]
    return transform, []


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
