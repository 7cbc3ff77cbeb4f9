"""Weights of another model as the first ones of a training: what fits is loaded, and what was is written down."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import floor
from pathlib import Path
from typing import Any

from torch import nn

from segpipe.config.schema import Settings
from segpipe.errors import ConfigError, ModelError
from segpipe.export.seen_cases import SEEN, SeenCases, seen_together
from segpipe.labels import LabelMap
from segpipe.networks import build_network
from segpipe.networks.stages import stages_of
from segpipe.preprocessing.recipe import Recipe
from segpipe.system.files.atomic_write import write_json
from segpipe.system.files.plain_files import read_json
from segpipe.training.transfer.matching import Match, match_weights
from segpipe.training.transfer.settings import Initialisation, initialisation_of
from segpipe.training.transfer.sources import Source, open_source

FILE = "init.json"
_NAMES_SHOWN = 3
_PREPARED = ("orientation", "spacing_mm", "window_hu", "transforms")
log = logging.getLogger(__name__)


def load_initial_weights(network: nn.Module, init: Initialisation, labels: LabelMap) -> tuple[Source, Match]:
    """Loads what fits of the source that `init.from` names into a network; all else stays as it was drawn.

    Args:
        network: The network.
        init: What the configuration says; it must name a source.
        labels: The classes of the network.

    Raises:
        ModelError: when the source cannot be read, or less of it fits than is wanted.
    """
    source = open_source(init)
    match = _match(source, network, labels)
    if not match.weights or match.share < init.min_share:
        raise _too_little(source, match, init)
    network.load_state_dict(match.weights, strict=False)
    return source, match


def describe_initial_weights(settings: Settings, folder: Path) -> dict[str, Any]:
    """What a run's weights begin with, for its checkpoints, its model card and MLflow; empty where they are random.

    It is logged and kept in the run's folder: a resumed run goes on from a checkpoint and needs the source no more.

    Raises:
        ModelError: see `load_initial_weights`.
    """
    init = initialisation_of(settings)
    if init.source is None:
        return {}
    file = folder / FILE
    if settings.resume and file.is_file():
        kept: dict[str, Any] = read_json(file)
        return kept
    recipe: Recipe = settings.recipe
    network = build_network(settings.network, out_channels=output_channels(settings))
    source, match = load_initial_weights(network, init, recipe.label_map)
    for line in table(source, match):
        log.info(line)
    if others := _other_preparation(source, recipe):
        log.warning("the source learnt from scans that were prepared otherwise: %s", ", ".join(others))
    return _facts(source, match)


def output_channels(settings: Settings) -> int:
    """Channels of the network's output: those of the classes, or one where the scan itself is to be restored."""
    recipe: Recipe = settings.recipe
    return 1 if settings.pretraining else recipe.label_map.channels


def with_caution(facts: Mapping[str, Any], *, data_hash: str, split: Mapping[str, Any]) -> dict[str, Any]:
    """The same, with a warning where the source was trained on other cases of the run's own data set.

    Cases that the run holds out may be among them, and its figures then say too much.

    Args:
        facts: See `describe_initial_weights`.
        data_hash: Of the run's data set.
        split: Of the run, as its provenance describes it.
    """
    same_data = facts.get("data_hash") == data_hash
    if not same_data or facts.get("training_cases_sha256") == split["training_cases_sha256"]:
        return dict(facts)
    caution = "the source was trained on other cases of this data set, perhaps on those that this run holds out"
    log.warning("initial weights: %s", caution)
    return {**facts, "caution": caution}


def check_public(facts: Mapping[str, Any], *, data_hash: str, digests: Iterable[str]) -> None:
    """Refuses weights that a private training must not begin with, as far as their source says what they learnt from.

    Args:
        facts: See `describe_initial_weights`.
        data_hash: Of the run's data set.
        digests: Of the scans that it learns from.

    Raises:
        ConfigError: for weights that have learnt from some of them.
    """
    learnt = SeenCases(facts.get(SEEN, [])).count(digests)
    if learnt["train"] or facts.get("data_hash") == data_hash:
        same = f"{learnt['train']} of {learnt['of']}" if learnt["train"] else "the same data set"
        raise ConfigError(
            "a private training must not begin with weights that have learnt from its own cases",
            facts={"init.from": facts.get("source"), "learnt from": same},
            hint="init.from=null, or weights of other patients or of phantoms",
        )


def keep_facts(facts: Mapping[str, Any], folder: Path) -> None:
    """Writes down what `describe_initial_weights` found, for the run to be resumed."""
    if facts:
        write_json(folder / FILE, facts, what="the origin of the initial weights")


def seen_before(folder: Path) -> list[dict[str, Any]]:
    """The cases that the training of a run's initial weights has seen; empty where that is not known."""
    file = folder / FILE
    groups: list[dict[str, Any]] = read_json(file).get(SEEN, []) if file.is_file() else []
    return groups


def table(source: Source, match: Match) -> list[str]:
    """What was loaded and what not, and why, in a few lines."""
    return [
        f"initial weights: {source.name} ({source.kind}; licence: {source.licence}; SHA-256 {source.sha256[:12]}…)",
        f"  loaded          {len(match.weights)} tensors, {_percent(match.share)} of the network's parameters",
        *(f"  adapted         {line}" for line in _by_reason(match.adapted)),
        *(f"  left at random  {line}" for line in _by_reason(match.missing)),
        *(f"  not used        {line}" for line in _by_reason(dict.fromkeys(match.unused, "no place in the network"))),
    ]


def _facts(source: Source, match: Match) -> dict[str, Any]:
    return {
        "source": source.name,
        "kind": source.kind,
        "sha256": source.sha256,
        "licence": source.licence,
        "loaded": _percent(match.share),
        **({"data_hash": source.about["data_hash"]} if "data_hash" in source.about else {}),
        **({"training_cases_sha256": trained} if (trained := _training_cases(source.about)) else {}),
        "lineage": source.lineage,
        **seen_together([source.about]),
    }


def _other_preparation(source: Source, recipe: Recipe) -> list[str]:
    """What of the source's recipe is not as it is here; its weights expect it as it was."""
    pairs = [(name, getattr(source.recipe, name, None), getattr(recipe, name)) for name in _PREPARED]
    return [f"{name} {theirs} ≠ {ours}" for name, theirs, ours in pairs if source.recipe and theirs != ours]


def _training_cases(about: Mapping[str, Any]) -> str | None:
    cases: str | None = (about.get("split") or {}).get("training_cases_sha256")
    return cases


def _match(source: Source, network: nn.Module, labels: LabelMap) -> Match:
    """What fits; of a model for several other classes not the head, even where the numbers of classes agree."""
    names = [label.name for label in labels.classes]
    theirs = source.recipe.label_map.classes if source.recipe else labels.classes
    if len(names) == 1 or names == [label.name for label in theirs]:
        return match_weights(source.weights, network, axes=source.axes)
    heads = [stage for stage in stages_of(network) if stage.part == "head"]
    foreign = {name for name in {*source.weights, *network.state_dict()} if any(head.holds(name) for head in heads)}
    weights = {name: value for name, value in source.weights.items() if name not in foreign}
    match = match_weights(weights, network, axes=source.axes)
    missing = {name: "other classes" if name in foreign else why for name, why in match.missing.items()}
    return replace(match, missing=missing)


def _too_little(source: Source, match: Match, init: Initialisation) -> ModelError:
    reasons = [*_by_reason(match.missing), *_by_reason(dict.fromkeys(match.unused, "no place in the network"))]
    hint = "choose the network that the weights were trained in"
    allow = f", or init.min_share={floor(100 * match.share) / 100:g} to begin with so little" if match.weights else ""
    return ModelError(
        "the initial weights do not fit the network"
        if not match.weights
        else "too little of the network would be loaded",
        facts={
            "source": f"{source.name} ({source.kind})",
            "loaded": f"{_percent(match.share)} of the network's parameters",
            "wanted": f"{_percent(init.min_share)} at least",
            **{str(number): line for number, line in enumerate(reasons[:6], start=1)},
        },
        hint=hint + allow,
    )


def _by_reason(names: Mapping[str, str]) -> list[str]:
    """One line for each reason: the first names, and how many more."""
    reasons = dict.fromkeys(names.values())
    grouped = {reason: [name for name, own in names.items() if own == reason] for reason in reasons}
    lines = []
    for reason, group in grouped.items():
        more = len(group) - _NAMES_SHOWN
        lines.append(", ".join(group[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "") + f": {reason}")
    return lines


def _percent(share: float) -> str:
    """Rounded down, since all is not loaded where anything is not."""
    return f"{floor(1000 * share) / 10:g} %"
