"""What pydantic finds wrong with values, in one line each: path, what must hold, and the nearest match."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from segpipe.spelling import did_you_mean, no_such_key

_UNION_MEMBERS = ("literal[", "constrained-", "int", "float", "str", "bool", "none", "list[", "tuple[", "function-")
"""How pydantic names members of a union in the location of an error."""


def mistakes_in(error: ValidationError, kind: type, section: str = "") -> list[str]:
    """One line for each mistake that pydantic found: its path, what must hold and the nearest match.

    Args:
        error: What it raised.
        kind: The model or pydantic dataclass that it checked.
        section: Where in the configuration its keys lie.
    """
    found: dict[str, list[str]] = {}
    for item in error.errors():
        where, what = _mistake(item, kind, section)
        found.setdefault(where, []).append(what)
    return [f"{where}: {', or '.join(dict.fromkeys(whats))}" for where, whats in found.items()]


def _mistake(item: Any, kind: type, section: str) -> tuple[str, str]:
    """The path, with the value if that is wrong, and what must hold; of a union's members each has its own."""
    keys, fields = _walk(kind, item["loc"])
    path = ".".join([section, *keys]).strip(".")
    if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return path, no_such_key(keys[-1], fields)
    if item["type"] == "missing":
        return path, "must be given"
    message = str(item["msg"]).removeprefix("Value error, ")
    allowed = str(item.get("ctx", {}).get("expected", ""))
    guess = did_you_mean(str(item["input"]), [word.strip("' ") for word in allowed.replace(" or ", ",").split(",")])
    return f"{path}={item['input']!s:.80}", f"{message[:1].lower()}{message[1:]}{guess}"


def _walk(kind: Any, location: Sequence[Any]) -> tuple[list[str], list[str]]:
    """The keys of a location, without the union members that pydantic names in it, and the keys known there."""
    keys: list[str] = []
    known: Mapping[str, Any] = {}
    for key in location:
        known = getattr(kind, "__pydantic_fields__", {})
        member = [one for one in get_args(kind) if key in _names(one)]
        if member:
            kind = member[0]
        elif key in known or not str(key).lower().startswith(_UNION_MEMBERS):
            keys.append(str(key))
            kind = known[key].annotation if key in known else None
    return keys, list(known)


def _names(kind: Any) -> tuple[Any, ...]:
    """What the `name` of a model may be, by which a union distinguishes its members."""
    fields = getattr(kind, "__pydantic_fields__", {})
    return get_args(fields["name"].annotation) if "name" in fields else ()
