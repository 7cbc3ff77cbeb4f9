"""What is wrong with a section that chooses a part, found before anything is built or trained.

A shipped builder's keyword-only parameters are the keys of its part's section, with their types and bounds.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from segpipe.errors import ConfigError
from segpipe.parts.building import summary_of
from segpipe.parts.registry import Registry
from segpipe.parts.targets import TARGET, argument_mistakes, target_mistakes
from segpipe.spelling import did_you_mean
from segpipe.validation import mistakes_in


def check_parts(section: str, config: Mapping[str, Any], registry: Registry) -> tuple[Any, list[str]]:
    """Checks a section that is a part or a list of parts; returns it, and its mistakes.

    Args:
        section: Its name.
        config: The whole configuration, in which the sections before it are checked already.
        registry: The parts of this kind.
    """
    values = config[section]
    if isinstance(values, Mapping):
        return check_part(section, values, registry, config)
    if not isinstance(values, list):
        return values, []  # the schema says what it must be
    items = [item if isinstance(item, Mapping) else {} for item in values]
    found = [check_part(f"{section}.{number}", item, registry, config) for number, item in enumerate(items)]
    return [part for part, _ in found], [mistake for _, mistakes in found for mistake in mistakes]


def check_part(
    path: str, values: Mapping[str, Any], registry: Registry, config: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Checks one part, e.g. the network, against the signature of what builds it.

    Shipped parts have typed keys with bounds; of others the names of the keys are compared. Then the part is tried.

    Args:
        path: Of the section, e.g. `network` or `callbacks.0`.
        values: The section as plain data.
        registry: The parts of this kind.
        config: The whole configuration, for the trial; the sections before this one are checked already.
    """
    part = dict(values)
    if TARGET in values:
        mistakes = target_mistakes(path, values, registry.given)
    elif str(values.get("name")) in registry.shipped:
        part, mistakes = check_shipped(path, values, registry.shipped[str(values["name"])])
    else:
        mistakes = _plug_in_mistakes(path, values, registry)
    if not mistakes and registry.trial:
        mistakes = [f"{path}: {mistake}" for mistake in registry.trial(part, config)]
    return part, mistakes


def check_shipped(
    section: str, values: Mapping[str, Any], builder: Callable[..., Any]
) -> tuple[dict[str, Any], list[str]]:
    """Checks a part that segpipe ships: the typed values, and the mistakes.

    Args:
        section: Its path in messages.
        values: Its name and keys.
        builder: What builds it.
    """
    model = _model_of(builder)
    try:
        part = model.model_validate({key: value for key, value in values.items() if key != "name"})
    except ValidationError as error:
        return dict(values), mistakes_in(error, model, section)
    return {"name": values["name"], **part.model_dump()}, []


def _plug_in_mistakes(path: str, values: Mapping[str, Any], registry: Registry) -> list[str]:
    name = str(values.get("name"))
    if name not in registry:
        if not len(registry):
            return [f"{path}.{TARGET}: must be given; no installed package registers a name ({registry.group})"]
        allowed = f"must be one of {', '.join(registry)}, or {path}.{TARGET} be given"
        return [f"{path}.name={name}: {allowed}{did_you_mean(name, registry)}"]
    try:
        builder = registry[name]
    except ConfigError as error:
        return [f"{path}.name={name}: {summary_of(error)}"]
    return argument_mistakes(path, builder, [key for key in values if key != "name"], registry.given)


@cache
def _model_of(builder: Callable[..., Any]) -> type[BaseModel]:
    """The keys of a builder as a pydantic model: one field for each keyword-only parameter."""
    hints = get_type_hints(builder, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(builder).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    return create_model("Part", __config__=ConfigDict(extra="forbid"), **fields)
