"""A configuration as MLflow parameters: flat, complete and within the server's limits."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LONGEST_VALUE = 6000
_FOREIGN = re.compile(r"[^\w.\-/: ]")


def flatten(config: Mapping[str, Any]) -> dict[str, str]:
    """Turns a nested configuration into MLflow parameters.

    Lists of plain values stay one parameter. A value longer than MLflow keeps is replaced by a note that says so; it is
    whole in the run's config.yaml.

    >>> flatten({"network": {"name": "unet", "dropout": None}, "spacing_mm": [1.0, 2.5]})
    {'network.name': 'unet', 'network.dropout': 'null', 'spacing_mm': '[1.0, 2.5]'}
    """
    return {_FOREIGN.sub("_", path): _fit(_text(value)) for path, value in _leaves(config, "")}


def cut_values(config: Mapping[str, Any]) -> list[str]:
    """The paths of values too long for a parameter, which only the run's config.yaml holds."""
    return [path for path, value in _leaves(config, "") if len(_text(value)) > LONGEST_VALUE]


def config_text(config: Mapping[str, Any]) -> str:
    """The configuration as YAML, in its own order."""
    import yaml

    return str(yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True))


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _leaves(child, f"{path}.{key}" if path else str(key))
    elif _is_sequence(value) and any(isinstance(item, Mapping) for item in value):
        for number, child in enumerate(value):
            yield from _leaves(child, f"{path}.{number}")
    else:
        yield path, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if _is_sequence(value):
        return [_plain(child) for child in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _fit(text: str) -> str:
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{len(text)} characters, see config.yaml"


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes)
