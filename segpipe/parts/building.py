"""From a section of the configuration to the part that it names."""

from collections.abc import Mapping
from typing import Any

from segpipe.errors import ConfigError, SegpipeError
from segpipe.parts.registry import Registry
from segpipe.parts.targets import TARGET, argument_mistakes, build_target, reason, takes


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
        return build_target(spec, given)
    name = registry.check_name(spec)
    builder, keys = registry[name], {key: value for key, value in spec.items() if key != "name"}
    mistakes = argument_mistakes(registry.section, builder, keys, registry.given)
    if mistakes:
        facts = {str(number): line for number, line in enumerate(mistakes, start=1)}
        raise ConfigError(f"{registry.section} {name} has missing or unknown keys", facts=facts)
    taken = {key: value for key, value in given.items() if key not in keys and takes(builder, key)}
    try:
        return builder(**taken, **keys)
    except SegpipeError:
        raise
    except Exception as error:  # a plug-in may raise anything
        raise ConfigError(
            f"the {registry.section} cannot be built from these values",
            facts={registry.section: name, "found": reason(error)},
        ) from error


def name_of(spec: Mapping[str, Any]) -> str:
    """What a part is called in messages, tables and the model card.

    >>> name_of({"name": "unet"}), name_of({"_target_": "mypkg.nets.TinyNet", "width": 8})
    ('unet', 'TinyNet')
    """
    return str(spec["name"]) if "name" in spec and TARGET not in spec else str(spec[TARGET]).rpartition(".")[2]
