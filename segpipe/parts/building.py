"""From a section of the configuration to the part that it names."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from segpipe.errors import ConfigError, SegpipeError, numbered
from segpipe.parts.registry import Registry
from segpipe.parts.targets import TARGET, argument_mistakes, build_target, handed_over, reason

Part = TypeVar("Part")


def build_part(registry: Registry, spec: Mapping[str, Any], **given: Any) -> Any:
    """Builds the part that `spec["name"]` or `spec["_target_"]` names, with the other keys as keyword arguments.

    Args:
        registry: The parts of this kind.
        spec: Plain data, e.g. `{"name": "sgd", "lr": 0.01, "weight_decay": 0.0}`.
        **given: What segpipe hands over, by name, to a builder that takes it.

    Raises:
        ConfigError: for a name or a key that is not known, a missing key, or values that do not fit together.
    """
    if TARGET in spec:
        return build_target(spec, given, optional=registry.optional)
    name = registry.check_name(spec)
    builder, keys = registry[name], {key: value for key, value in spec.items() if key != "name"}
    mistakes = argument_mistakes(registry.section, builder, keys, registry.given)
    if mistakes:
        raise ConfigError(f"{registry.section} {name} has missing or unknown keys", facts=numbered(mistakes))
    try:
        return builder(**handed_over(builder, given, keys, optional=registry.optional), **keys)
    except SegpipeError:
        raise
    except Exception as error:  # a plug-in may raise anything
        raise ConfigError(
            f"the {registry.section} cannot be built from these values",
            facts={registry.section: name, "found": reason(error)},
        ) from error


def try_part(build: Callable[[], Part], kind: type, use: Callable[[Part], list[str]] | None = None) -> list[str]:
    """Builds a part and uses it for a moment; returns what is wrong, each the rest of a line.

    Args:
        build: Builds it.
        kind: The class that it must be of.
        use: Finds further mistakes.
    """
    try:
        part = build()
        if not isinstance(part, kind):
            wanted = f"{kind.__module__.partition('.')[0]}'s {kind.__name__}"
            return [f"must derive from {wanted}; found {type(part).__name__}"]
        return use(part) if use else []
    except SegpipeError as error:
        return [summary_of(error)]


def summary_of(error: SegpipeError) -> str:
    """An error in one line, for a list of mistakes."""
    facts = ", ".join(f"{fact}: {value}" for fact, value in error.facts.items())
    return error.message + (f" ({facts})" if facts else "")


def name_of(spec: Mapping[str, Any]) -> str:
    """What a part is called in messages, tables and the model card.

    >>> name_of({"name": "unet"}), name_of({"_target_": "mypkg.nets.TinyNet", "width": 8})
    ('unet', 'TinyNet')
    """
    return str(spec["name"]) if "name" in spec and TARGET not in spec else str(spec[TARGET]).rpartition(".")[2]
