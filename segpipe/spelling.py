"""The nearest known word to a mistyped one, for error messages, and the ends of such messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that is spelled most like `word`, or None when none is near.

    >>> nearest("adamv", ["sgd", "adamw"])
    'adamw'
    """
    matches = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word; nothing when no known word is near.

    >>> did_you_mean("adamv", ["sgd", "adamw"]), did_you_mean("xyz", ["sgd"])
    ('; did you mean adamw?', '')
    """
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""


def no_such_key(key: str, allowed: Iterable[str]) -> str:
    """What is wrong with an unknown key, as the end of a line that begins with its path.

    >>> no_such_key("depht", ["width", "depth"])
    'no such key; allowed: width, depth; did you mean depth?'
    """
    names = list(allowed)
    return f"no such key; allowed: {', '.join(names) or 'none'}{did_you_mean(key, names)}"
