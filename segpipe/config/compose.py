"""From command-line overrides to checked settings: all mistakes are found before any work and told together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segpipe.config.folder import conf_folder
from segpipe.config.schema import SectionCheck, Settings, check_settings, raise_mistakes
from segpipe.parts import Registry
from segpipe.spelling import nearest


@dataclass(frozen=True)
class CommandLine:
    """Hydra's view of a command line.

    Args:
        overrides: `key=value` words.
        flags: Everything else, e.g. `--multirun`.
        config_dirs: Folders given by `--config-dir`.
    """

    overrides: tuple[str, ...]
    flags: tuple[str, ...]
    config_dirs: tuple[Path, ...]


def read_command_line(argv: Sequence[str]) -> CommandLine:
    """Splits the words of a command line into overrides and Hydra's flags."""
    overrides, flags, folders = [], [], []
    words = iter(argv)
    for word in words:
        if word in ("--config-dir", "-cd"):
            folders.append(Path(next(words, ".")))
        elif word.startswith("--config-dir="):
            folders.append(Path(word.partition("=")[2]))
        elif word in ("--cfg", "-c", "--package", "-p"):
            flags += [word, next(words, "")]
        elif word.startswith("-") and "=" not in word:
            flags.append(word)
        else:
            overrides.append(word)
    return CommandLine(tuple(overrides), tuple(flags), tuple(folders))


def check_command_line(line: CommandLine, registries: Mapping[str, Registry | SectionCheck]) -> DictConfig:
    """Composes what the command line asks for and checks every key and value of it.

    With `--cfg`, which only shows, values that must be given may be missing.

    Returns:
        The composed configuration; of a sweep its first one.

    Raises:
        ConfigError: listing all mistakes, each with its path, what is allowed and the nearest match.
    """
    with _hydra(line.config_dirs):
        parsed, mistakes = _parse(line.overrides)
        groups = _find_groups(line.config_dirs)
        choices = [override for override in parsed if override.key_or_group in groups]
        keys = [override for override in parsed if override.key_or_group not in groups]
        good = _without_mistakes(choices, lambda override: _group_mistakes(override, groups), mistakes)
        where = _search_path(line.config_dirs)
        known = list(_paths(_compose([*where, *_lines(good)], mistakes)))
        fitting = _without_mistakes(keys, lambda override: _key_mistakes(override, known, groups), mistakes)
        config = _compose([*where, *_lines(good), *_lines(fitting)], mistakes)
        show = _showing(line, choices, groups)
    bare = {"--cfg", "-c"} & set(line.flags) and OmegaConf.missing_keys(config)
    raise_mistakes([*mistakes, *([] if bare else find_mistakes(config, registries))], show=show)
    return config


def find_mistakes(config: DictConfig, registries: Mapping[str, Registry | SectionCheck]) -> list[str]:
    """All mistakes in a composed configuration, missing values included."""
    missing = [f"{path}: must be given, e.g. {path}=/data/my_scans" for path in sorted(OmegaConf.missing_keys(config))]
    if missing:
        return missing
    return check_settings(plain(config), registries)[1]


def settings_of(config: DictConfig, registries: Mapping[str, Registry | SectionCheck]) -> Settings:
    """The typed settings of a composed configuration.

    Raises:
        ConfigError: listing all mistakes.
    """
    settings, mistakes = check_settings(plain(config), registries)
    raise_mistakes(mistakes)
    assert settings is not None
    return settings


def plain(config: DictConfig) -> dict[str, Any]:
    """A composed configuration as plain resolved data, without Hydra's own section."""
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items() if key != "hydra"}


def _without_mistakes(
    overrides: Sequence[Override], check: Callable[[Override], list[str]], mistakes: list[str]
) -> list[Override]:
    """The overrides in which `check` finds nothing; what it finds in the others is added to `mistakes`."""
    fine = []
    for override in overrides:
        found = check(override)
        mistakes += found
        fine += [] if found else [override]
    return fine


def _hydra(config_dirs: tuple[Path, ...]) -> Any:
    raise_mistakes([f"--config-dir {folder}: no such folder" for folder in config_dirs if not folder.is_dir()])
    return initialize_config_dir(str(conf_folder()), version_base="1.3", job_name="train")


def _search_path(config_dirs: tuple[Path, ...]) -> list[str]:
    folders = ",".join(f"file://{folder.resolve()}" for folder in config_dirs)
    return [f"hydra.searchpath=[{folders}]"] if folders else []


def _parse(words: Sequence[str]) -> tuple[list[Override], list[str]]:
    parser = OverridesParser.create()
    parsed, mistakes = [], []
    for word in words:
        try:
            parsed += parser.parse_overrides([word])
        except (OverrideParseException, HydraException) as error:
            mistakes.append(f"{word}: not of the form key=value ({str(error).splitlines()[0]})")
    return parsed, mistakes


def _lines(overrides: Sequence[Override]) -> list[str]:
    """Override texts; of a sweep its first choice, so that one configuration can be composed."""
    return [_first_choice(override) for override in overrides if override.key_or_group.split(".")[0] != "hydra"]


def _first_choice(override: Override) -> str:
    if override.is_sweep_override() and override.value_type is not ValueType.GLOB_CHOICE_SWEEP:
        first = next(iter(override.sweep_string_iterator()), "")
        return f"{str(override.input_line).partition('=')[0]}={first}"
    return str(override.input_line)


def _showing(line: CommandLine, choices: Sequence[Override], groups: Mapping[str, list[str]]) -> str:
    """The command that shows every key of what the user chose; a misspelt experiment becomes the nearest one."""
    words = [f"--config-dir {folder}" for folder in line.config_dirs]
    for choice in choices:
        group, value = choice.key_or_group, _first_choice(choice).partition("=")[2]
        near = value if value in groups[group] else nearest(value, groups[group])
        plus = "+" if group == "experiment" or choice.is_add() else ""
        words += [f"{plus}{group}={near}"] if near else []
    return " ".join(["python -m segpipe", *words, "--cfg job"])


def _find_groups(config_dirs: Sequence[Path]) -> dict[str, list[str]]:
    """Group → its options, of the shipped configuration and of the user's folders."""
    loader = GlobalHydra.instance().config_loader()
    groups: dict[str, set[str]] = {group: set(loader.get_group_options(group)) for group in loader.list_groups("")}
    for file in (file for folder in config_dirs for file in folder.glob("*/*.yaml")):
        groups.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(options) for group, options in groups.items() if group != "hydra"}


def _group_mistakes(override: Override, groups: Mapping[str, list[str]]) -> list[str]:
    group = override.key_or_group
    if override.is_delete():
        return []
    values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [str(override.value())]
    mistakes = []
    if group == "experiment" and not override.is_add():
        mistakes.append(f"{override.input_line}: an experiment is added; write +{override.input_line}")
    for value in values:
        if value not in groups[group]:
            near = nearest(value, groups[group])
            guess = f"; did you mean {near}?" if near else ""
            mistakes.append(f"{group}={value}: must be one of {', '.join(groups[group])}{guess}")
    return mistakes


def _key_mistakes(override: Override, known: list[str], groups: Mapping[str, list[str]]) -> list[str]:
    path = override.key_or_group
    if path.split(".")[0] == "hydra" or path in known or override.is_add():
        return []
    guess = nearest(path, [*known, *groups])
    parent = path.rpartition(".")[0]
    siblings = [key.rpartition(".")[2] for key in known if key.rpartition(".")[0] == parent]
    allowed = f"; allowed under {parent or 'the top'}: {', '.join(siblings)}" if siblings else ""
    return [f"{path}: no such key{allowed}" + (f"; did you mean {guess}?" if guess else "")]


def _paths(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in config:
        path = f"{prefix}{key!s}"
        yield path
        node = config._get_node(key)
        if isinstance(node, DictConfig):
            yield from _paths(node, f"{path}.")


def _compose(overrides: Sequence[str], mistakes: Sequence[str]) -> DictConfig:
    """Composes; what Hydra itself refuses is told together with the mistakes found before."""
    try:
        return compose("config", overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise_mistakes([*mistakes, reason])
        raise
