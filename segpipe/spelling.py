"""The nearest known word to a mistyped one, for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that is spelled most like `word`, or None when none is near.

    >>> nearest("adamv", ["sgd", "adamw", "adam"])
    'adamw'
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None
