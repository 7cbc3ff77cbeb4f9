"""Takes user and password out of `tracking.uri` before Hydra keeps, shows or writes the words or the configuration."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from segpipe.system.credentials import set_credentials_apart

KEY = "tracking.uri"
_SIGNED = re.compile(r"\w://[^/\s]*:[^/\s]*@")
_WORD = re.compile(r"(?P<key>[+~]*(?:tracking\.\w+|[\w.]*ur[il])=)(?P<quote>['\"]?)(?P<uri>\w[\w+.-]*://.*)(?P=quote)")


def words_without_credentials(words: Sequence[str]) -> list[str]:
    """A command line whose addresses hold no password, also under a misspelt key.

    Raises:
        ConfigError: when it is not clear what is a password.
    """
    return [_WORD.sub(_apart, word) if _WORD.fullmatch(word) else word for word in words]


def config_without_credentials(config: DictConfig) -> DictConfig:
    """The same configuration, its `tracking.uri` changed in place.

    Raises:
        ConfigError: when it is not clear what is a password.
    """
    try:
        uri = OmegaConf.select(config, KEY)
    except OmegaConfBaseException:  # which is named with all other mistakes
        return config
    if isinstance(uri, str) and (shown := set_credentials_apart(uri)) != uri:
        with read_write(config), open_dict(config):
            OmegaConf.update(config, KEY, shown)
    return config


def paths_with_passwords(value: Any, path: str = "") -> Iterator[str]:
    """Where plain data hold an address with a user and a password."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from paths_with_passwords(child, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from paths_with_passwords(child, f"{path}.{number}")
    elif isinstance(value, str) and _SIGNED.search(value):
        yield path


def _apart(word: re.Match[str]) -> str:
    return f"{word['key']}{word['quote']}{set_credentials_apart(word['uri'])}{word['quote']}"
