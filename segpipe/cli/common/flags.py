"""How every verb but `train` reads its command line: mistakes become one message and exit code 2."""

import argparse
from typing import NoReturn

from segpipe.errors import ConfigError


class VerbParser(argparse.ArgumentParser):
    """A parser that raises instead of leaving the program, and takes no shortened flags.

    Args:
        verb: The verb, which usage and hints name.
        settings: As of `argparse.ArgumentParser`.
    """

    def __init__(self, verb: str, **settings: object) -> None:
        super().__init__(prog=f"python -m segpipe {verb}", allow_abbrev=False, **settings)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raises what argparse found.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(message, hint=f"{self.prog} --help")
