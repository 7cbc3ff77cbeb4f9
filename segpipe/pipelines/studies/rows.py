"""The rows of a study: each is one training, with a configuration, a folder and a command of its own."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segpipe.config.overrides import as_text, key_of
from segpipe.pipelines.studies.settings import CHANGE, Study

Content = Mapping[str, Any]
_OWN = ("study", "resume", "hydra", "check")


@dataclass(frozen=True)
class Row:
    """One training of a study.

    Args:
        candidate: What is trained.
        lr: Its learning rate.
        seed: Of weights, patches and dropout.
        variant: Which keys are changed; empty for none.
    """

    candidate: str
    lr: float
    seed: int
    variant: str = ""

    @property
    def name(self) -> str:
        """The name of its folder.

        >>> Row("adamw", 0.001, 0, "eps").name
        'adamw.eps_lr0.001_seed0'
        """
        what = f"{self.candidate}.{self.variant}" if self.variant else self.candidate
        return f"{what}_lr{self.lr:g}_seed{self.seed}"


def every_row(study: Study) -> list[Row]:
    """All rows that a study may come to, in the order in which it does: rates, seeds, variants."""
    names, first = list(study.candidates), study.seeds[0]
    variants = [(name, variant.of) for name, variant in study.variants.items()]
    return [
        *(Row(name, rate, first) for name in names for rate in study.rates_of(name)),
        *(Row(name, rate, seed) for name in names for seed in study.seeds[1:] for rate in study.rates_of(name)),
        *(Row(name, rate, first, variant) for variant, name in variants for rate in study.rates_of(name)),
    ]


def config_of(row: Row, study: Study, config: Content) -> dict[str, Any]:
    """The configuration of a row, as plain data: that of the study with the row's sections, rate and seed."""
    candidate = study.candidates[row.candidate]
    whole = {name: section for name, section in candidate.items() if name != CHANGE}
    sections = _merged({**config, **whole, "seed": row.seed, "resume": False}, candidate.get(CHANGE, {}))
    sections["optimizer"] = {**sections["optimizer"], "lr": row.lr}
    change = study.variants[row.variant].change if row.variant else {}
    return {name: value for name, value in _merged(sections, change).items() if name != "study"}


def command_of(own: Content, config: Content, words: Sequence[str]) -> str:
    """The command line that trains a row alone.

    Args:
        own: The row's configuration.
        config: The study's.
        words: The overrides that the study was started with.
    """
    changes = [word for section in own for word in _changes(section, config.get(section), own[section])]
    keys = {key_of(word) for word in changes}
    kept = [word for word in words if key_of(word).partition(".")[0] not in _OWN and not _is_replaced(word, keys)]
    off = [] if any(word.startswith("+study") for word in words) else ["~study"]
    return shlex.join(["python", "-m", "segpipe", *kept, *off, *changes])


def _merged(content: Content, change: Content) -> dict[str, Any]:
    merged = dict(content)
    for key, value in change.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def _changes(key: str, before: Any, after: Any) -> Iterator[str]:
    """The overrides that make one value of another; a part of another name is chosen, and all its keys are given."""
    if before == after or key in _OWN:
        return
    if not (isinstance(after, Mapping) and isinstance(before, Mapping)):
        yield f"{key}={_text(after)}"
    elif "name" in after and before.get("name") != after["name"]:
        yield f"{key}={after['name']}"
        yield from (f"{key}.{name}={_text(value)}" for name, value in after.items() if name != "name")
    else:
        yield from (f"~{key}.{name}" for name in before if name not in after)
        yield from (f"+{key}.{name}={_text(after[name])}" for name in after if name not in before)
        for name in (name for name in after if name in before):
            yield from _changes(f"{key}.{name}", before[name], after[name])


def _is_replaced(word: str, keys: set[str]) -> bool:
    key = key_of(word)
    return key in keys or key.partition(".")[0] in keys


def _text(value: Any) -> str:
    """A value as Hydra reads it.

    >>> _text([0.9, None, True, "a b", {"x": 1}])
    '[0.9,null,true,"a b",{x:1}]'
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return as_text(value) if isinstance(value, str) else repr(value)
