"""The flags by which verbs reach a PACS: who asks, with what password, and whose certificate is believed."""

import argparse
import os
from pathlib import Path
from typing import Any

from segpipe.errors import ConfigError


def add_pacs_flags(add: Any) -> None:
    """Adds `--user`, `--password-env` and `--authority`.

    Args:
        add: `add_argument` of a parser or a group of flags.
    """
    add("--user", metavar="NAME", help="for basic authentication at the PACS")
    add("--password-env", metavar="VARIABLE", help="environment variable that holds the password")
    add("--authority", type=Path, metavar="PEM", help="certificates that the PACS's own is checked against")


def read_password(given: argparse.Namespace) -> str | None:
    """The password for the PACS; see `read_secret`."""
    return read_secret(given.user, given.password_env, flag="--password-env")


def read_secret(user: str | None, variable: str | None, *, flag: str) -> str | None:
    """The password that an environment variable holds; None when there is no user.

    Raises:
        ConfigError: for a user without a password or the other way round.
    """
    if (user is None) != (variable is None):
        raise ConfigError(f"a user needs {flag}, the name of the variable that holds the password, and {flag} a user")
    if variable is None:
        return None
    if variable not in os.environ:
        raise ConfigError("the variable with the password is not set", facts={flag: variable})
    return os.environ[variable]
