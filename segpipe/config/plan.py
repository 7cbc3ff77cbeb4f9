"""Plans: plain YAML files of overrides, read with `+plan=FILE`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from segpipe.errors import ConfigError

_WORD = "+plan="
_PLAIN = re.compile(r"[\w./-]*")  # everything else may mean something to Hydra


def expand_plans(argv: Sequence[str]) -> list[str]:
    """Replaces each `+plan=FILE` by the overrides that the file holds; what stands later on the line wins.

    Raises:
        ConfigError: when a plan cannot be read or is not a mapping.
    """
    plans = [override for word in argv if word.startswith(_WORD) for override in _overrides(Path(word[len(_WORD) :]))]
    own = [word for word in argv if not word.startswith(_WORD)]
    groups = [word for word in own if word.startswith("+experiment=")]
    return [*groups, *plans, *(word for word in own if word not in groups)]


def _overrides(file: Path) -> list[str]:
    try:
        content = yaml.safe_load(file.expanduser().read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError("the plan cannot be read", facts={"file": file, "found": error}) from error
    if not isinstance(content, Mapping):
        raise ConfigError("a plan must be a mapping of keys", facts={"file": file, "found": type(content).__name__})
    return [f"{path}={_text(value)}" for path, value in _flatten(content)]


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_text(item) for item in value)}]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", r"\'") + "'"
    return {None: "null", True: "true", False: "false"}.get(value, str(value))
