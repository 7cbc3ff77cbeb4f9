"""`+experiment=continue` on the command line: groups get an option `parent`, made of what a model says of itself."""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from segpipe.config.overrides import key_of
from segpipe.errors import ConfigError
from segpipe.parts import TARGET

OPTION = "parent"
_EXPERIMENT, _SOURCE = "continue", "init.from"
_SCHEDULE = "${data.schedule.validate_every}"


def continued_model(words: Sequence[str]) -> str | None:
    """What a command line with `+experiment=continue` goes on with; None for other command lines.

    Raises:
        ConfigError: when it does not say, or names several.
    """
    if not any(key_of(word) == "experiment" and word.partition("=")[2] == _EXPERIMENT for word in words):
        return None
    named = [word for word in words if key_of(word) == _SOURCE]
    found = _value_of(named[-1]) if named else None
    if found is None:
        raise ConfigError(
            f"+experiment={_EXPERIMENT} must say which one model it goes on with",
            facts={"found": named[-1] if named else f"no {_SOURCE}"},
            hint=f"python -m segpipe +experiment={_EXPERIMENT} {_SOURCE}=MODEL data.root=NEW data.rehearsal=OLD",
        )
    return found


def chosen_groups(words: Sequence[str]) -> set[str]:
    """The groups of which a command line chooses an option, or a part by its import path."""
    return {key_of(word).partition("@")[0].removesuffix(f".{TARGET}") for word in words}


def offer_parent(sections: Mapping[str, Mapping[str, Any]], data: Mapping[str, Any]) -> None:
    """Makes sections the option `parent` of their groups.

    Args:
        sections: Group → its keys as plain data.
        data: What the data set's section is to have as well: its split and its schedule, which validations follow.
    """
    store = ConfigStore.instance().store
    for group, content in sections.items():
        scheduled = {"validate_every": _SCHEDULE} if group == "training" else {}
        store(OPTION, {**content, **scheduled}, group=group, provider=_EXPERIMENT)
    store(OPTION, {"data": dict(data)}, group="continuing", package="_global_", provider=_EXPERIMENT)


def _value_of(word: str) -> str | None:
    """The text that an override gives its key; None for none, for another kind of value, or for several."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
    except HydraException:
        return None
    value = None if override.is_sweep_override() else override.value()
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
