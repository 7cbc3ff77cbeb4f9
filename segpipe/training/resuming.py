"""What may change when a run is resumed, and which run `resume=true` means; asked before any work."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError
from segpipe.system.plain_files import read_yaml
from segpipe.training.optimisation.schedulers import CLOSED_FORMS

CONFIG = "config.yaml"
_MODEL = "model/segpipe.json"
_SWEEP = "multirun.yaml"
_FREE = (
    "optimizer", "scheduler", "trainer", "evaluation", "tracking", "callbacks",
    "data.root", "data.table", "data.cache", "data.workers", "data.schedule",
    "training.clip_norm", "training.clip_value", "training.early_stopping", "training.validate_every",
    "training.checkpoint_every", "training.log_every", "training.max_skipped_steps",
)  # fmt: skip
_KINDS = ("optimizer.name", "optimizer._target_")
_ABSENT = "(absent)"

log = logging.getLogger(__name__)


def check_resume(config: Mapping[str, Any], folder: Path) -> None:
    """Refuses to resume with other settings of what is learnt from what; says what else has changed.

    The rates, the schedule, the number of steps, intervals, hardware and everything after the training may change. A
    folder without a configuration is a new run.

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
    changes = [change for change in _changes(begun, config) if change[0] != "resume"]
    kept = [change for change in changes if not _may_change(change[0], begun, config)]
    if kept:
        raise ConfigError(
            "a run is resumed with the settings that it began with",
            facts={"run": folder, **{key: f"began with {old}, asked for {new}" for key, old, new in kept}},
            hint="leave these keys as they were, or start a new run without resume=true",
        )
    log.info("resuming %s", folder)
    for key, old, new in changes:
        log.info("  %s: %s from here on, %s before", key, new, old)


def find_unfinished_run(runs: Path) -> Path | None:
    """The newest run folder below `runs` that has no model yet, or None."""
    files = [file for file in runs.glob(f"*/{CONFIG}") if not (file.parent / _SWEEP).exists()]
    unfinished = [file for file in files if not (file.parent / _MODEL).exists()]
    return max(unfinished, key=lambda file: file.stat().st_mtime).parent if unfinished else None


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


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Key, former and present value of whatever differs."""
    before, after = dict(_flatten(old)), dict(_flatten(new))
    for key in dict.fromkeys([*before, *after]):
        values = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if values[0] != values[1]:
            yield key, *values


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
    closed = all(config.get("scheduler", {}).get("name") in CLOSED_FORMS for config in (old, new))
    if not closed and (key.startswith("scheduler.") or key == "optimizer.lr"):
        return False
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)
