"""The errors a user meets: each says what must hold, what was found, where, and what to try next."""

from collections.abc import Mapping, Sequence

_PLACES = ("case", "file")
_MOST_NAMED = 20
"""Cases with the same mistake; where there are more, it is hardly theirs."""


class SegpipeError(Exception):
    """A mistake in input or set-up that one clear message can explain.

    Args:
        message: What must hold or what is wrong, in one line.
        facts: What was found and where; printed one per line, e.g. `{"case": "LUNG_042", "mask": "512×512×129"}`.
        hint: The next step to try.
    """

    exit_code = 2

    def __init__(self, message: str, *, facts: Mapping[str, object] | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.facts = dict(facts or {})
        self.hint = hint

    def __str__(self) -> str:
        rows = {**self.facts, **({"try": self.hint} if self.hint else {})}
        width = max((len(name) for name in rows), default=0)
        lines = [f"  {name:<{width}}  {value}" for name, value in rows.items()]
        return "\n".join([self.message, *lines])

    def with_facts(self, **facts: object) -> "SegpipeError":
        """Returns the same error with further facts in front, e.g. the case in which it happened."""
        return type(self)(self.message, facts={**facts, **self.facts}, hint=self.hint)


class ConfigError(SegpipeError):
    """A wrong key or value in the configuration or on the command line."""


class ImageError(SegpipeError):
    """A scan or mask that cannot be read or cannot be a chest CT."""


class GeometryError(SegpipeError):
    """Grids, affines or orientations that do not fit."""


class LabelError(SegpipeError):
    """Mask values that the label map does not know."""


class DatasetError(SegpipeError):
    """A data set that cannot be used as it is."""


class ModelError(SegpipeError):
    """A model folder or checkpoint that is damaged, foreign or does not fit."""


class TrainingError(SegpipeError):
    """A training that cannot go on."""


class OutputError(SegpipeError):
    """A result that cannot be written."""


class ServiceError(SegpipeError):
    """A server (tracking, PACS, download) that does not answer as it must."""


def explain(error: SegpipeError) -> str:
    """Returns the text a user sees, e.g. `GeometryError: affine is singular` and its facts below.

    >>> print(explain(GeometryError("affine is singular", facts={"file": "a.nii"}, hint="export it again")))
    GeometryError: affine is singular
      file  a.nii
      try   export it again
    """
    return f"{type(error).__name__}: {error}"


def numbered(mistakes: Sequence[str]) -> dict[str, str]:
    """Mistakes as facts of one error, each on a line of its own.

    >>> numbered(["seed: must be given", "foo: no such key"])
    {'1': 'seed: must be given', '2': 'foo: no such key'}
    """
    return {str(number): line for number, line in enumerate(mistakes, start=1)}


def merge_alike(errors: Sequence[SegpipeError]) -> list[SegpipeError]:
    """One error for one cause: those that differ in their case and file alone become one that names the cases.

    >>> full = [OutputError("the case cannot be written", facts={"case": name, "found": "disk full"}) for name in "abc"]
    >>> print(explain(*merge_alike(full)))
    OutputError: the case cannot be written
      cases  3: a, b, c
      found  disk full
    """
    alike: dict[object, list[SegpipeError]] = {}
    for error in errors:
        others = {name: str(value) for name, value in error.facts.items() if name not in _PLACES}
        known = "case" in error.facts and (type(error), error.message, error.hint, tuple(sorted(others.items())))
        alike.setdefault(known or id(error), []).append(error)
    return [same[0] if len(same) == 1 else _merged(same) for same in alike.values()]


def _merged(errors: Sequence[SegpipeError]) -> SegpipeError:
    first = errors[0]
    names = [str(error.facts["case"]) for error in errors]
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    cases = f"{len(names)}: " + ", ".join([*names[:_MOST_NAMED], *more])
    others = {name: value for name, value in first.facts.items() if name not in _PLACES}
    return type(first)(first.message, facts={"cases": cases, **others}, hint=first.hint)


def raise_together(errors: Sequence[SegpipeError], *, headline: str) -> None:
    """Raises one error that lists all of `errors`, alike ones together; returns quietly when there are none.

    Raises:
        SegpipeError: of the kind of the first error.
    """
    if not errors:
        return
    if len(errors) == 1:
        raise errors[0]
    blocks = [explain(error).replace("\n", "\n  ") for error in merge_alike(errors)]
    raise type(errors[0])("\n  ".join([f"{headline} ({len(errors)} mistakes)", *blocks]))
