"""Why Hydra refuses an override, in words that say what to write instead."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segpipe.spelling import did_you_mean, nearest


def key_of(word: str) -> str:
    """The key of an override: `optimizer.lr` of `++optimizer.lr=1`, `network@second` of `+network@second=unet`."""
    return word.lstrip("+~").partition("=")[0]


def as_text(value: str) -> str:
    r"""A text in quotes, whatever characters it has, as Hydra reads it.

    >>> print(as_text('a=b,"c"'))
    "a=b,\"c\""
    """
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), value) + '"'


def each_value(words: Sequence[str], loader: ConfigLoader) -> Iterator[list[str]]:
    """The first job of a sweep; then, for each further value of each key, the first job with that value instead."""
    values = [_values(word, loader) for word in words]
    first = [of_word[0] for of_word in values]
    yield first
    for place, of_word in enumerate(values):
        yield from ([*first[:place], word, *first[place + 1 :]] for word in of_word[1:])


def explain_refusal(word: str, error: Exception, config: DictConfig) -> tuple[str, list[str]]:
    """The mistake in an override as one line, and what was meant, if that is plain.

    Args:
        word: The override.
        error: Why Hydra refuses it.
        config: What it was to be applied to.
    """
    key, _, value = word.partition("=")
    option = f"{key_of(word).partition('@')[0]}/{value}"
    reason = reason_of(error)
    if isinstance(error, OverrideParseException) or not key_of(word):
        return _unreadable(word), []
    if isinstance(error, MissingConfigException) and error.missing_cfg_file == option:
        options = list(error.options or [])
        near = nearest(value, options)
        allowed = f"must be one of {', '.join(options)}{did_you_mean(value, options)}"
        return f"{word}: {allowed}", [f"{key}={near}"] if near else []
    if "--multirun" in reason:
        first = value.partition(",")[0]
        others = f"a list is {key}=[{value}], a text {_quoted(word)}"
        meant = [] if "(" in first else [f"{key}={first}"]
        return f"{word}: several values are a sweep, which needs --multirun; {others}", meant
    if f"use +{word}" in reason and "default list" in reason:
        return f"{word}: has no default to replace; write +{word}", [f"+{word}"]
    known = list(paths(OmegaConf.to_container(config)))
    if not word.startswith("+") and key_of(word) not in known:
        add = f"; +{word} adds it" if word.startswith("hydra.") else ""
        return _unknown_key(key_of(word), known) + add, []
    return f"{word}: {reason}", []


def reason_of(error: Exception) -> str:
    """What Hydra or OmegaConf says, in one line."""
    if isinstance(error.__cause__, OmegaConfBaseException):
        return str(error.__cause__).splitlines()[0]
    text = str(error) if isinstance(error, HydraException) else f"{type(error).__name__}: {error}"
    return " ".join(text.partition("See https://")[0].partition("Config search path")[0].split())


def paths(content: object, prefix: str = "") -> Iterator[str]:
    """The path of each key of nested mappings, e.g. `optimizer` and `optimizer.lr`."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        yield f"{prefix}{key}"
        yield from paths(value, f"{prefix}{key}.")


def _unreadable(word: str) -> str:
    key, equals, _ = word.partition("=")
    if not equals or not re.fullmatch(r"[~+]*[\w.@/:-]+", key):
        return f"{word}: not of the form key=value"
    return f"{word}: a value with = , ( ) [ ] {{ }} or quotes in it needs quotes around it; write {_quoted(word)}"


def _quoted(word: str) -> str:
    """A `key=text` whose text Hydra takes as it is, quoted for Hydra and then for a shell."""
    key, _, value = word.partition("=")
    return shlex.quote(f"{key}={as_text(value)}")


def _unknown_key(path: str, known: Sequence[str]) -> str:
    mark = "/" if "/" in path else "."  # of groups, or of keys
    parent = path.rpartition(mark)[0]
    siblings = [key.rpartition(".")[2] for key in known if key.rpartition(".")[0] == parent]
    allowed = f"; allowed under {parent or 'the top'}: {', '.join(siblings)}" if siblings else ""
    return f"{path}: no such key{allowed}{did_you_mean(path, [key.replace('.', mark) for key in known])}"


def _values(word: str, loader: ConfigLoader) -> list[str]:
    """An override as one for each value of its sweep, or for both ends of its interval."""
    try:
        (override,) = OverridesParser.create(config_loader=loader).parse_overrides([word])
    except HydraException:
        return [word]
    if not override.is_sweep_override():
        return [word]
    swept = override.value()
    ends = isinstance(swept, IntervalSweep) and (swept.start, swept.end)
    return [f"{override.get_key_element()}={value}" for value in ends or override.sweep_string_iterator()] or [word]
