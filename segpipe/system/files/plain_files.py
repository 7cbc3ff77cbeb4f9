"""Plain data from JSON and YAML files that anybody may have written: bounded in size, depth and number of values."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

LARGEST_FILE = 2**28
DEEPEST = 64
MOST_VALUES = 2**22


def read_json(file: Path) -> Any:
    """The content of a JSON file in UTF-8.

    Raises:
        OSError: when it cannot be opened.
        ValueError: when it is no JSON, or larger or deeper than any that is meant.
    """
    return _read(file, json.loads)


def read_yaml(file: Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The content of a YAML file in UTF-8: plain data, no objects.

    Args:
        file: The file.
        loader: Decides what is a number.

    Raises:
        OSError: when it cannot be opened.
        ValueError: when it is no YAML, or larger or deeper than any that is meant, with all that its aliases stand for.
    """
    try:
        return _read(file, lambda text: yaml.load(text, Loader=loader))  # a safe one
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _read(file: Path, parse: Callable[[str], Any]) -> Any:
    if file.stat().st_size > LARGEST_FILE:
        raise ValueError(f"larger than {LARGEST_FILE >> 20} MiB")
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    _check_extent(content)
    return content


def _check_extent(content: Any) -> None:
    """Looks at one level after the other, so that content which holds itself ends at the bound, too."""
    level, count = [content], 0
    for _ in range(DEEPEST + 1):
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return
        count += sum(map(len, level))
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES} values")
        level = [value for one in level for value in (one.values() if isinstance(one, dict) else one)]
    raise ValueError(f"nested more than {DEEPEST} deep")
