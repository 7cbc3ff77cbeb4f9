"""Callables named by their import path (`_target_`, Hydra's word): found, compared with their arguments, and called.

Only a configuration that the user wrote comes here; nothing that is read from a model folder does.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from types import ModuleType
from typing import Any

from segpipe.errors import ConfigError
from segpipe.spelling import nearest, no_such_key

TARGET = "_target_"
_FOR_HYDRA = (TARGET, "_partial_", "_recursive_", "_convert_", "_args_")
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def build_target(
    spec: Mapping[str, Any], given: Mapping[str, Any] | None = None, *, optional: Collection[str] = ()
) -> Any:
    """Calls what `spec["_target_"]` names, by Hydra's rules: targets inside the arguments are called first.

    With `_partial_: true` it is not called yet, e.g. a function that is itself a transform.

    Args:
        spec: Plain data, e.g. `{"_target_": "monai.losses.DiceCELoss", "to_onehot_y": True}`.
        given: Objects that are handed over by name where the callable takes them and `spec` does not give them.
        optional: Those of `given` that are handed only where the signature names them.

    Raises:
        ConfigError: when it cannot be imported or refuses the arguments.
    """
    from hydra.utils import instantiate

    if "${" in str(spec):  # Hydra would evaluate it, and a configuration is resolved before its parts are built
        raise ConfigError("the arguments of a part must be plain values", facts={"part": spec[TARGET], "found": "${…}"})
    target = find_target(str(spec[TARGET]))
    taken = handed_over(target, given or {}, spec, optional=optional)
    try:
        # a partial, since Hydra copies what it is handed: an optimizer would hold copies of the weights
        call = partial(instantiate({**spec, "_partial_": True, "_convert_": "all"}), **taken)
        return call if spec.get("_partial_") else call()
    except Exception as error:  # whatever foreign code raises
        raise ConfigError(
            f"{spec[TARGET]} cannot be built from these values", facts={"found": reason(error)}
        ) from error


def find_target(path: str) -> Callable[..., Any]:
    """Imports what `package.module.name` names.

    Raises:
        ConfigError: when there is no such callable, or when a module fails while it is imported.
    """
    try:
        found = _locate(path) if all(path.split(".")) else None
    except Exception as error:  # whatever a foreign module raises while it is imported
        text, near = _explain(error)
        raise ConfigError(
            f"{path} cannot be imported", facts={"found": text}, hint=f"did you mean {near}?" if near else None
        ) from error
    if not callable(found):
        raise ConfigError(f"{path} must name a class or function", facts={"found": type(found).__name__})
    builder: Callable[..., Any] = found
    return builder


def target_mistakes(path: str, spec: Mapping[str, Any], given: Collection[str] = ()) -> list[str]:
    """What is wrong with a section that has a `_target_`, and with all targets inside it, one line each.

    Args:
        path: Of the section, e.g. `network` or `callbacks.0`.
        spec: The section as plain data.
        given: Arguments that segpipe hands over.
    """
    try:
        target = find_target(str(spec[TARGET]))
    except ConfigError as error:
        hint = f"; {error.hint}" if error.hint else ""
        return [f"{path}.{TARGET}={spec[TARGET]}: {error.message} ({error.facts['found']}){hint}"]
    keys = [key for key in spec if key not in _FOR_HYDRA]
    found = [] if "_args_" in spec else argument_mistakes(path, target, keys, given, whole=not spec.get("_partial_"))
    return found + [mistake for inner, value in _inner(path, spec) for mistake in target_mistakes(inner, value)]


def argument_mistakes(
    path: str, builder: Callable[..., Any], keys: Collection[str], given: Collection[str] = (), *, whole: bool = True
) -> list[str]:
    """Compares the keys of a section with the signature of what they are for; one line for each mistake.

    Args:
        path: Of the section.
        builder: What the keys are for.
        keys: The section's own.
        given: Arguments that segpipe hands over.
        whole: Whether all arguments without a default must be there.
    """
    named = named_parameters(builder)
    if named is None:
        return []
    allowed = [name for name in named if name not in given]
    unknown = [] if _is_open(builder) else [key for key in keys if key not in named]
    missing = [name for name in allowed if whole and named[name].default is Parameter.empty and name not in keys]
    return [
        *(f"{path}.{key}: {no_such_key(key, allowed)}" for key in unknown),
        *(f"{path}.{name}: must be given" for name in missing),
    ]


def targets_in(spec: Mapping[str, Any]) -> list[str]:
    """Every import path that building a section would import, in the order of the section."""
    own = [str(spec[TARGET])] if TARGET in spec else []
    return own + [target for _, inner in _inner("", spec) for target in targets_in(inner)]


def handed_over(
    builder: Callable[..., Any], given: Mapping[str, Any], keys: Collection[str], *, optional: Collection[str] = ()
) -> dict[str, Any]:
    """Those of `given` that a callable takes and its section does not say; see `build_target`."""
    return {
        name: value
        for name, value in given.items()
        if name not in keys and takes(builder, name, by_name=name in optional)
    }


def takes(builder: Callable[..., Any], name: str, *, by_name: bool = False) -> bool:
    """Whether a callable takes an argument of that name; `by_name` if its `**` does not count."""
    named = named_parameters(builder)
    return named is not None and (name in named or (not by_name and _is_open(builder)))


def named_parameters(builder: Callable[..., Any]) -> dict[str, Parameter] | None:
    """What a callable takes by name; None for some that are written in C, of which nothing is known."""
    try:
        parameters = signature(builder).parameters
    except (TypeError, ValueError):
        return None
    return {name: parameter for name, parameter in parameters.items() if parameter.kind in _NAMED}


def reason(error: BaseException) -> str:
    """The first line of what an exception says, without Hydra's frame around it."""
    inner = error.__cause__ if error.__cause__ and type(error).__name__ == "InstantiationException" else error
    text = next(iter(str(inner).strip().splitlines()), "")
    return f"{type(inner).__name__}: {text}" if text else type(inner).__name__


def _is_open(builder: Callable[..., Any]) -> bool:
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in signature(builder).parameters.values())


def _locate(path: str) -> Any:
    """What an import path names: an attribute where there is one, as for Hydra, or else a module."""
    first, *others = path.split(".")
    found: Any = import_module(first)
    for name in others:
        if not hasattr(found, name) and hasattr(found, "__path__") and find_spec(f"{found.__name__}.{name}"):
            import_module(f"{found.__name__}.{name}")
        found = getattr(found, name)
    return found


def _explain(error: Exception) -> tuple[str, str | None]:
    """Why an import failed, and the nearest name that is there."""
    if not isinstance(error, AttributeError) or not isinstance(error.obj, ModuleType):
        return reason(error), None
    near = nearest(str(error.name), [name for name in dir(error.obj) if not name.startswith("_")])
    return f"{error.obj.__name__} has no {error.name}", near


def _inner(path: str, value: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The targets directly inside a section: their paths and sections."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, item in items:
        if isinstance(item, Mapping) and TARGET in item:
            yield f"{path}.{key}", item
        else:
            yield from _inner(f"{path}.{key}", item)
