"""One error for all mistakes in a configuration."""

from segpipe.errors import ConfigError, numbered


def raise_mistakes(mistakes: list[str], *, show: str = "python -m segpipe --cfg job") -> None:
    """Raises one ConfigError that lists all mistakes; returns quietly when there are none.

    Args:
        mistakes: One line each.
        show: The command that shows the configuration that was meant.

    Raises:
        ConfigError: with one line for each mistake.
    """
    if mistakes:
        unique = list(dict.fromkeys(mistakes))
        count = "a mistake" if len(unique) == 1 else f"{len(unique)} mistakes"
        raise ConfigError(
            f"the configuration has {count}",
            facts=numbered(unique),
            hint=f"{show}   shows every key and its value",
        )
