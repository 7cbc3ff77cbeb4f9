"""Parts of a run that are chosen by name: looks the name up in a closed list and builds the part."""

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any, TypeVar

from segpipe.errors import ConfigError
from segpipe.spelling import nearest

Part = TypeVar("Part")


def build_part(
    kind: str, registry: Mapping[str, Callable[..., Part]], spec: Mapping[str, Any], *positional: Any
) -> Part:
    """Builds the part that `spec["name"]` names, with the other keys of `spec` as keyword arguments.

    Args:
        kind: What is built, for messages, e.g. `network`.
        registry: Name → builder; its keyword-only parameters are the allowed keys.
        spec: Plain data, e.g. `{"name": "sgd", "lr": 0.01, "weight_decay": 0.0}`.
        *positional: Handed to the builder before the keys.

    Raises:
        ConfigError: for a name or a key that is not known, a missing key, or values that do not fit together.
    """
    name = check_name(kind, registry, spec)
    keys = {key: value for key, value in spec.items() if key != "name"}
    _check_keys(f"{kind} {name}", registry[name], keys)
    try:
        return registry[name](*positional, **keys)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"the {kind} cannot be built from these values", facts={kind: name, "found": error}
        ) from error


def check_name(kind: str, registry: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """Returns `spec["name"]`.

    Raises:
        ConfigError: when it is not in `registry`.
    """
    name = str(spec.get("name"))
    if name not in registry:
        near = nearest(name, registry)
        raise ConfigError(
            f"unknown {kind}",
            facts={"found": name, "known": ", ".join(registry)},
            hint=f"{kind}={near}" if near else None,
        )
    return name


def keys_of(builder: Callable[..., Any]) -> dict[str, Parameter]:
    """The keys that a builder takes: its keyword-only parameters."""
    return {
        name: parameter
        for name, parameter in signature(builder).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }


def _check_keys(what: str, builder: Callable[..., Any], keys: Mapping[str, Any]) -> None:
    known = keys_of(builder)
    required = {name for name, parameter in known.items() if parameter.default is Parameter.empty}
    unknown, missing = sorted(set(keys) - set(known)), sorted(required - set(keys))
    if unknown or missing:
        facts = {"missing": ", ".join(missing), "unknown": ", ".join(unknown), "known": ", ".join(known)}
        near = nearest(unknown[0], known) if unknown else None
        raise ConfigError(
            f"{what} has missing or unknown keys",
            facts={fact: value for fact, value in facts.items() if value},
            hint=f"{near} instead of {unknown[0]}" if near else None,
        )
