"""Keeps user and password out of whatever is written, logged or shown: an address is whole only in memory."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote

from segpipe.errors import ConfigError

HANDED_DOWN = "SEGPIPE_TRACKING_URI"
"""The variable by which processes that this one starts know an address whole."""
_GIVEN = (HANDED_DOWN, "MLFLOW_TRACKING_URI")
_SECRET = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET")
_PARTS = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)?(?P<rest>[^?#]*)(?P<query>[?#].*)?", re.DOTALL)
_IN_TEXT = re.compile(r"(\w+://)[^/@\s]+@")
_kept: dict[str, "Address"] = {}


@dataclass(frozen=True)
class Address:
    """An address by its parts; a repr or a message has only what may be shown.

    Args:
        shown: Scheme, host, port and path.
        user: Who signs in.
        password: Of that user.
        query: What follows `?` or `#`, that sign included; databases take passwords and keys there, too.
    """

    shown: str
    user: str = field(repr=False, default="")
    password: str = field(repr=False, default="")
    query: str = field(repr=False, default="")

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """Reads an address; all before its last @ is user and password, where it begins with a host.

        >>> Address.parse("postgresql://ann:p@ss/w@db:5432/mlflow?sslkey=k")
        Address(shown='postgresql://db:5432/mlflow')

        Raises:
            ConfigError: when it is not clear what is a password.
        """
        found = _PARTS.fullmatch(uri)
        assert found is not None  # as the last of its parts takes anything
        scheme, rest, query = (found[name] or "" for name in ("scheme", "rest", "query"))
        if "@" in query:
            raise ConfigError(
                "an address must not have an @ behind a ? or a #",
                facts={"found": f"one that begins with {scheme or 'no scheme'}"},
                hint="in user, password and query write @ as %40, ? as %3F and # as %23",
            )
        signed, host = rest.rpartition("@")[::2] if not rest.startswith("/") else ("", rest)
        user, _, password = signed.partition(":")
        return cls(f"{scheme}{host}", unquote(user), unquote(password), query)

    @property
    def is_bare(self) -> bool:
        """Whether all of it may be shown."""
        return not (self.user or self.password or self.query)

    @property
    def whole(self) -> str:
        """All of it, as libraries for databases take it."""
        scheme, separator, rest = self.shown.rpartition("://")
        password = f":{_quoted(self.password)}" if self.password else ""
        signed = f"{_quoted(self.user)}{password}@" if self.user or self.password else ""
        return f"{scheme}{separator}{signed}{rest}{self.query}"

    @property
    def secrets(self) -> list[str]:
        """What must not be said."""
        if self.is_bare:
            return []
        values = [self.password or self.user, *(value for _, value in parse_qsl(self.query[1:]))]
        return [text for text in (self.whole, self.query, *values, *map(_quoted, values)) if text]


def set_credentials_apart(uri: str) -> str:
    """What of an address may be shown and written; `whole_address` knows the rest, here and in child processes.

    Raises:
        ConfigError: when it is not clear what is a password.
    """
    address = Address.parse(uri)
    if not address.is_bare:
        _kept[address.shown] = address
        os.environ[HANDED_DOWN] = address.whole
    return address.shown


def whole_address(shown: str) -> Address:
    """An address with user and password, if this process, one that started it or `MLFLOW_TRACKING_URI` has them.

    Args:
        shown: What `set_credentials_apart` gave.
    """
    given = next((address for address in _given() if address.shown == shown), Address(shown))
    return _kept.get(shown, given)


def without_secrets(text: object) -> str:
    """A text of another library without the passwords that are known here, nor any inside an address."""
    known = [secret for address in (*_kept.values(), *_given()) for secret in address.secrets]
    known += [os.environ[name] for name in _SECRET if os.environ.get(name)]
    said = str(text)
    for secret in sorted(known, key=len, reverse=True):
        said = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", said)
    return _IN_TEXT.sub(r"\1***@", said)


def _given() -> Iterator[Address]:
    for name in _GIVEN:
        with suppress(ConfigError):
            yield Address.parse(os.environ.get(name, ""))


def _quoted(text: str) -> str:
    return quote(text, safe="")
