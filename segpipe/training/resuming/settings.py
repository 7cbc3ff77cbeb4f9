"""The configuration that a run began with, and what of it may change when it is resumed; asked before any work."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter

from segpipe.errors import ConfigError
from segpipe.system.files.atomic_write import write_text
from segpipe.system.files.plain_files import read_yaml
from segpipe.training.optimisation.schedulers import CLOSED_FORMS
from segpipe.training.transfer.settings import FineTuning, Initialisation

CONFIG = "config.yaml"
_FREE = (
    "optimizer", "scheduler", "trainer", "evaluation", "detector", "tracking", "callbacks",
    "data.root", "data.table", "data.cache", "data.workers", "data.schedule",
    "training.clip_norm", "training.clip_value", "training.early_stopping", "training.validate_every",
    "training.checkpoint_every", "training.keep_every", "training.log_every",
    "training.max_skipped_steps", "training.spike_factor",
    "study.rates", "study.spacing", "study.seeds", "study.reference", "study.parallel",
)  # fmt: skip
_LATER = {"init": Initialisation, "finetune": FineTuning}  # sections that the configurations of earlier runs lack
_LATER_KEYS = {
    "data.limit": None,
    "data.rehearsal": None,
    "init.continues": False,
    "loss.label_smoothing": 0.0,
}  # likewise
_KINDS = ("optimizer.name", "optimizer._target_")
_ABSENT = "(absent)"

log = logging.getLogger(__name__)


class Change(NamedTuple):
    """A key whose value differs."""

    key: str
    old: Any
    new: Any


def check_resume(config: Mapping[str, Any], folder: Path) -> None:
    """Refuses to resume with other settings of what is learnt from what; says what else has changed.

    The rates, the schedule, the number of steps, intervals, hardware and everything after the training may change, and
    the rates and seeds of a study, each of which has rows of its own. A folder without a configuration is a new run.

    Args:
        config: The resolved configuration as plain data.
        folder: The run folder, whose `config.yaml` says how the run began.

    Raises:
        ConfigError: naming both values of every key that must stay.
    """
    begun = _read(folder / CONFIG)
    if begun is None:
        log.info("there is no run to resume: a new one begins in %s", folder)
        return
    free, kept = compare_settings(begun, config)
    if kept:
        raise ConfigError(
            "a run is resumed with the settings that it began with",
            facts={
                "run": folder,
                **{change.key: f"began with {change.old}, asked for {change.new}" for change in kept},
            },
            hint="leave these keys as they were, or start a new run without resume=true",
        )
    log.info("resuming %s", folder)
    for change in free:
        log.info("  %s: %s from here on, %s before", change.key, change.new, change.old)


def compare_settings(begun: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[list[Change], list[Change]]:
    """What differs between the configuration that a run began with and another, `resume` and `check` left out.

    Returns:
        What may change when the run is resumed, and what must stay.
    """
    later = {
        "privacy": {"name": "none"},
        "mixing": {"name": "none"},
        **{name: _defaults(kind) for name, kind in _LATER.items()},
    }
    every = _changes({**later, **begun}, {**later, **config})
    changes = [change for change in every if change.key not in ("resume", "check")]
    free = [change for change in changes if _may_change(change.key, begun, config)]
    return free, [change for change in changes if change not in free]


def write_config(config: Mapping[str, Any], folder: Path) -> Path:
    """Writes the resolved configuration of a run as `config.yaml`."""
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    return write_text(folder / CONFIG, text, what="the run's configuration")


def _read(file: Path) -> dict[str, Any] | None:
    if not file.exists():
        return None
    try:
        content = read_yaml(file)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ConfigError("the run's configuration cannot be read", facts={"file": file}, hint="start a new run")
    return content


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    before, after = ({**_LATER_KEYS, **dict(_flatten(config))} for config in (old, new))
    for key in dict.fromkeys([*before, *after]):
        change = Change(key, before.get(key, _ABSENT), after.get(key, _ABSENT))
        if change.old != change.new:
            yield change


def _defaults(kind: type) -> dict[str, Any]:
    defaults: dict[str, Any] = TypeAdapter(kind).dump_python(kind(), by_alias=True)
    return defaults


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _may_change(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if key in _KINDS:
        return False
    # a schedule that is no function of the step alone keeps rates of its own, and goes on with them
    closed = all(dict(_flatten(config)).get("scheduler.name") in CLOSED_FORMS for config in (old, new))
    if not closed and (key.startswith("scheduler.") or key == "optimizer.lr"):
        return False
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)
