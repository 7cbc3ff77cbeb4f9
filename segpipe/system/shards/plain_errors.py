"""Errors as plain data, which outlast the process that met them."""

from collections.abc import Iterable, Mapping
from typing import Any

from segpipe.errors import SegpipeError


def error_to_dict(error: SegpipeError) -> dict[str, Any]:
    """Kind, message, facts and hint; facts as they are printed."""
    facts = {name: str(value) for name, value in error.facts.items()}
    return {"kind": type(error).__name__, "message": error.message, "facts": facts, "hint": error.hint}


def error_from_dict(content: Mapping[str, Any]) -> SegpipeError:
    """The error that `error_to_dict` made plain; of a kind that is not known here, a `SegpipeError`.

    >>> from segpipe.errors import ImageError, explain
    >>> print(explain(error_from_dict(error_to_dict(ImageError("no contrast", facts={"case": "a"})))))
    ImageError: no contrast
      case  a
    """
    kind = {kind.__name__: kind for kind in _kinds(SegpipeError)}.get(content["kind"], SegpipeError)
    return kind(content["message"], facts=content["facts"], hint=content["hint"])


def _kinds(kind: type[SegpipeError]) -> Iterable[type[SegpipeError]]:
    yield kind
    for further in kind.__subclasses__():
        yield from _kinds(further)
