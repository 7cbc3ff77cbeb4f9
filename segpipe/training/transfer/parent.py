"""How a model was trained, as its folder or its run says, and what a training that goes on with it takes of that.

A folder may come from anybody: plain values of what segpipe ships are taken, and nothing that it names is imported.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from segpipe.config.folder import conf_folder
from segpipe.errors import ModelError
from segpipe.export.export_spec import INDEX, TRAINED_BY
from segpipe.export.model_folder import ModelFolder, read_model_folder
from segpipe.export.shipped import find_model
from segpipe.networks import build_network
from segpipe.networks.registry import members_of, shipped_mistakes
from segpipe.networks.size_bound import parameters_within
from segpipe.parts import TARGET, Registry
from segpipe.parts.targets import targets_in
from segpipe.preprocessing.recipe import Recipe
from segpipe.system.files.plain_files import read_yaml
from segpipe.training.checkpoints.files import LAST
from segpipe.training.optimisation.losses import LOSSES
from segpipe.training.optimisation.mixing import MIXINGS
from segpipe.training.optimisation.optimizers import OPTIMIZERS
from segpipe.training.optimisation.schedulers import SCHEDULERS

GENTLER, SHORTER = 1 / 3, 1 / 4
"""Of the rate and of the steps that a model was trained with, where it goes on."""
_LEARNING = (
    "sampling",
    "augmentation",
    "mixing",
    "loss",
    "optimizer",
    "scheduler",
    "training",
    "detector",
    "evaluation",
)
_CONFIG = "config.yaml"
SECTIONS = ("recipe", "network", *_LEARNING)
_SPLIT = ("fold", "folds", "split_seed", "fractions")
_OTHER_KINDS = ("pretraining", "ratings", "study")
_OWN = {"optimizer": "lr", "training": "validate_every"}
_PARTS: Mapping[str, Registry] = {"loss": LOSSES, "mixing": MIXINGS, "optimizer": OPTIMIZERS, "scheduler": SCHEDULERS}
_ROOM = 4
"""Weights may be stored in half the precision, and a network may make parameters that it drops again."""


@dataclass(frozen=True)
class Parent:
    """A model that a training goes on with.

    Args:
        name: What it is called; no path.
        sections: Those of its configuration that can be taken.
        unfit: Why others cannot be.
        split: `fold`, `folds`, `split_seed` and `fractions` of its data; empty where it does not say.
        steps: How long it was trained; None where it does not say.
        continued: Whether it has gone on with another model, gently, itself.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    unfit: Mapping[str, str] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    continued: bool = False

    @property
    def lacking(self) -> list[str]:
        """The sections that it says nothing of."""
        return [name for name in SECTIONS if name not in self.sections and name not in self.unfit]

    @property
    def like(self) -> str:
        """The experiment that stands for what it does not say."""
        return "lung_nodule_voi" if self.sections.get("recipe", {}).get("scope") == "voi" else "lung_nodule"

    def completed(self, told: Mapping[str, Any]) -> "Parent":
        """The same with what it says nothing of from elsewhere.

        Args:
            told: See `how_trained`.
        """
        added = {name: told[name] for name in self.lacking}
        return replace(self, sections={**self.sections, **added}, steps=self.steps or told["steps"])

    def gentle_sections(self) -> dict[str, dict[str, Any]]:
        """Its sections as a training that goes on has them: at a lower rate, unless it has gone on itself."""
        sections = {name: dict(content) for name, content in self.sections.items()}
        rate = sections.get("optimizer", {}).get("lr")
        if isinstance(rate, int | float) and not self.continued:
            sections["optimizer"]["lr"] = float(f"{rate * GENTLER:.3g}")
        return sections

    def compared_with(self, config: Mapping[str, Any]) -> list[str]:
        """What a training that goes on has of the model, and what not, in a few lines.

        Args:
            config: Of the training, as plain data.
        """
        own = {name: _without(name, content) for name, content in self.sections.items()}
        taken = [name for name in own if own[name] == _without(name, config[name])]
        lines = {
            f"goes on with {self.name}, as it was trained": taken,
            "  otherwise": [name for name in own if name not in taken],
            f"  what it does not say, as in {self.like}": self.lacking,
        }
        rate, steps = _mapping(config["optimizer"]).get("lr"), config["trainer"]["max_steps"]
        rate_there, steps_there = self.sections.get("optimizer", {}).get("lr", "unknown"), self.steps or "unknown"
        return [
            *(f"{line}: {', '.join(names)}" for line, names in lines.items() if names),
            f"  learning rate {rate} (there {rate_there}), {steps} steps (there {steps_there})",
        ]

    def short_schedule(self) -> dict[str, int]:
        """How long a training goes on, and how often it is validated: as often as the model's own in fewer steps."""
        if self.steps is None:
            return {}
        every = self.sections.get("training", {}).get("validate_every")
        share = 1 if self.continued else SHORTER
        own = every if isinstance(every, int) and every > 0 else self.steps
        return {
            name: max(1, round(share * count)) for name, count in (("max_steps", self.steps), ("validate_every", own))
        }


def how_trained(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a model folder says of its training: plain data without paths, nothing of the data but how it was split.

    Args:
        config: The configuration of the run, as plain data.
    """
    data, init, trainer = (_mapping(config.get(name)) for name in ("data", "init", "trainer"))
    return {
        **{name: config[name] for name in _LEARNING if name in config},
        "split": {name: data[name] for name in _SPLIT if name in data},
        "steps": trainer.get("max_steps"),
        "continued": bool(init.get("continues")),
    }


def read_parent(named: str) -> Parent:
    """Reads what `init.from` names, as far as a training can go on with it.

    Args:
        named: A model folder or the name of a shipped one, a run folder, or one of its checkpoints.

    Raises:
        ModelError: when it is none of them, is damaged, or has learnt something else than to segment.
    """
    path = find_model(named).expanduser()
    folder = path.parent.parent if path.is_file() else path
    model = next((place for place in (folder, folder / "model") if (place / INDEX).is_file()), None)
    config = _config_of(folder.parent if model == folder else folder)
    if model:
        name = folder.parent.name if folder.name == "model" else folder.name
        return _of_model(read_model_folder(model), config, name=name)
    if config:
        return _of_run(folder, config)
    raise ModelError(
        "+experiment=continue goes on with a model of segpipe, which says how it was trained",
        facts={"init.from": named, "looked for": f"{INDEX} and {_CONFIG}"},
        hint="give a model folder or a run folder; other weights: +experiment=lung_nodule init.from=…",
    )


def _of_model(model: ModelFolder, config: Mapping[str, Any], *, name: str) -> Parent:
    """A model says it itself; for one of an earlier version the configuration of the run around it does."""
    told = model.about.get(TRAINED_BY) or (how_trained(config) if config else {})
    network = next(iter(members_of(model.network)), model.network)
    return _parent(name, told, recipe=model.recipe, network=network, weights=model.weights)


def _of_run(folder: Path, config: Mapping[str, Any]) -> Parent:
    """A run that has no model yet."""
    other = [kind for kind in _OTHER_KINDS if config.get(kind)]
    checkpoint = folder / "checkpoints" / LAST
    if other or not checkpoint.is_file():
        found = f"a run of {other[0]}" if other else f"no checkpoints/{LAST}"
        raise ModelError(
            "+experiment=continue goes on with a model that segments",
            facts={"init.from": folder, "found": found},
            hint="+experiment=lung_nodule init.from=…   begins with the weights of any other",
        )
    recipe, network = Recipe.from_dict(_mapping(config.get("recipe"))), _mapping(config.get("network"))
    return _parent(folder.name, how_trained(config), recipe=recipe, network=network, weights=checkpoint)


def _parent(name: str, told: Mapping[str, Any], *, recipe: Recipe, network: Mapping[str, Any], weights: Path) -> Parent:
    sections = {
        "recipe": _whole(recipe),
        "network": network,
        **{section: told[section] for section in _LEARNING if section in told},
    }
    unfit = {section: why for section, content in sections.items() if (why := _why_unfit(section, content))}
    if "network" not in unfit:
        with parameters_within(_ROOM * weights.stat().st_size), torch.random.fork_rng(devices=[]):
            build_network(network, out_channels=recipe.label_map.channels)
    split, steps = told.get("split") or {}, told.get("steps")
    return Parent(
        name,
        {section: content for section, content in sections.items() if section not in unfit},
        unfit,
        _first_fold({key: split[key] for key in _SPLIT if key in split and _is_plain(split[key])}),
        steps if isinstance(steps, int) and steps > 0 else None,
        bool(told.get("continued")),
    )


def _config_of(folder: Path) -> dict[str, Any]:
    """The configuration of a run; empty where there is none that can be read."""
    try:
        return dict(_mapping(read_yaml(folder / _CONFIG)))
    except (OSError, ValueError):
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole(recipe: Recipe) -> dict[str, Any]:
    """Every key of a recipe, so that each can be overridden."""
    empty = dict.fromkeys(("transforms", "labels", "regions", "ignore"))
    return {**empty, **recipe.to_dict()}


def _first_fold(split: Mapping[str, Any]) -> dict[str, Any]:
    """Of a cross-validation the split of the fold whose network comes first."""
    return {key: 0 if (key, value) == ("fold", "all") else value for key, value in split.items()}


def _without(section: str, content: Any) -> dict[str, Any]:
    """A section without what a training that goes on has of its own."""
    own = _OWN.get(section)
    return {key: value for key, value in _mapping(content).items() if key != own}


def _why_unfit(section: str, content: Any) -> str | None:
    """What keeps a section from being taken; None for nothing. What its values must hold is checked later, as ever."""
    if not isinstance(content, Mapping) or not _is_plain(content) or "defaults" in content:
        return "must have plain values"
    if section == "network":
        return None if TARGET not in content and not shipped_mistakes(content) else _elsewhere(content)
    if section in _PARTS:
        shipped = content.get("name") in _PARTS[section].shipped and not targets_in(content)
        return None if shipped else _elsewhere(content)
    known = _known_transforms() if section == "augmentation" else _known_in_recipe(section, content)
    others = [target for target in targets_in(content) if target not in known]
    if section == "augmentation":
        others += [str(name) for name, spec in content.items() if not isinstance(spec, Mapping) or TARGET not in spec]
    return f"{', '.join(others):.120} comes from elsewhere" if others else None


def _elsewhere(content: Mapping[str, Any]) -> str:
    return f"{content.get(TARGET) or content.get('name')!s:.120} comes from elsewhere"


def _known_in_recipe(section: str, content: Mapping[str, Any]) -> list[str]:
    """A recipe has been checked already: its transforms are of a closed list."""
    return targets_in(content) if section == "recipe" else []


@cache
def _known_transforms() -> frozenset[str]:
    """The transforms that shipped options name."""
    files = (conf_folder() / "augmentation").glob("*.yaml")
    return frozenset(target for file in files for target in targets_in(read_yaml(file)))


def _is_plain(value: Any) -> bool:
    """Whether Hydra takes it as it is: no `${…}`, which it would evaluate, and no `???`, which it would miss."""
    return all("${" not in text and text != "???" for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
