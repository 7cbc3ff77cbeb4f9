"""Parts from elsewhere on the command line: plug-ins are options of their groups, a `_target_` takes its section."""

from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

from hydra.core.config_store import ConfigStore

from segpipe.errors import ConfigError
from segpipe.parts import TARGET, Registry
from segpipe.parts.targets import named_parameters

_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))


def offer_plug_ins(registries: Mapping[str, Any]) -> None:
    """Makes each name that an installed package registers an option of its group: `network=tiny network.width=8`."""
    for section, registry in registries.items():
        if isinstance(registry, Registry):
            for name in (name for name in registry if name not in registry.shipped):
                ConfigStore.instance().store(group=section, name=name, node=_option(registry, name))


def with_foreign_parts(words: Sequence[str], registries: Mapping[str, Any]) -> list[str]:
    """Prepares Hydra for what a command line may choose from other packages, and the command line for Hydra."""
    offer_plug_ins(registries)
    return with_targets(words, [name for name, registry in registries.items() if isinstance(registry, Registry)])


def with_targets(words: Sequence[str], sections: Sequence[str]) -> list[str]:
    """Lets `network._target_=mypkg.Net network.width=8` stand for a section of these keys alone.

    Hydra would merge them into the option that is the default. Where the option is chosen on the same command line,
    its keys are kept, as Hydra does.

    Args:
        words: A command line; words that are no overrides of these sections stay as they are.
        sections: Those that hold one part, e.g. `network`.
    """
    chosen = {word.partition("=")[0].lstrip("+~") for word in words}
    ours = [section for section in sections if f"{section}.{TARGET}" in chosen and section not in chosen]
    replaced: list[str] = []
    for word in words:
        section = word.partition(".")[0]
        if section in ours:
            replaced += [f"+{word}"] if f"~{section}" in replaced else [f"~{section}", f"+{word}"]
        else:
            replaced.append(word)
    return replaced


def _option(registry: Registry, name: str) -> dict[str, Any]:
    """The keys of a plug-in with its own defaults; of a broken one its name, for the check to explain."""
    try:
        parameters = named_parameters(registry[name]) or {}
    except ConfigError:
        return {"name": name}
    keys = {
        key: "???" if parameter.default is Parameter.empty else parameter.default
        for key, parameter in parameters.items()
        if key not in registry.given
    }
    return {"name": name, **{key: value for key, value in keys.items() if isinstance(value, _PLAIN)}}
