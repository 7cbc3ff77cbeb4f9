"""The words of a job as an experiment's file, which `+experiment=` takes from a folder given by `--config-dir`."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString

_LEFT_OUT = ("resume", "check", "tracking")


def experiment_of(words: Sequence[str], loader: ConfigLoader) -> str:
    """An experiment that composes to what the words do, but for where it is tracked; it searches nothing.

    >>> from hydra._internal.config_loader_impl import ConfigLoaderImpl
    >>> from hydra._internal.utils import create_config_search_path
    >>> from segpipe.config.folder import conf_folder
    >>> loader = ConfigLoaderImpl(create_config_search_path(str(conf_folder())))
    >>> print(experiment_of(["+experiment=lung_nodule", "loss=dice_focal", "optimizer.lr=1e-3"], loader))
    # @package _global_
    defaults:
    - lung_nodule
    - override /hydra/sweeper: basic
    - override /loss: dice_focal
    - _self_
    hydra:
      mode: null
      sweeper:
        params: null
    optimizer:
      lr: 0.001
    <BLANKLINE>
    """
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(words))
    kept = [word for word in parsed if word.key_or_group.partition(".")[0] not in _LEFT_OUT]
    defaults: list[Any] = [{"override /hydra/sweeper": "basic"}]
    content: dict[str, Any] = {"hydra": {"mode": None, "sweeper": {"params": None}}}
    for word in kept:
        if loader.get_group_options(word.key_or_group):
            defaults.append(_choice(word))
        else:
            _put(content, word.key_or_group.split("."), _plain(word.value()))
    defaults.sort(key=lambda choice: "override" in str(choice))  # which Hydra wants last
    body = yaml.safe_dump({"defaults": [*defaults, "_self_"], **content}, sort_keys=False, allow_unicode=True)
    return f"# @package _global_\n{body}"


def _choice(word: Override) -> Any:
    value = _plain(word.value())
    if word.key_or_group == "experiment":
        return value
    group = f"/{word.key_or_group}{'@' + word.package if word.package else ''}"
    return {group: value} if word.is_add() else {f"override {group}": value}


def _put(content: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        content = content.setdefault(key, {})
    content[keys[-1]] = value


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
