"""One bad case never takes the good ones with it: whatever goes wrong in it becomes an error that names its kind."""

import logging
import re
from collections.abc import Callable
from typing import TypeVar

from segpipe.errors import SegpipeError, explain

log = logging.getLogger(__name__)
Result = TypeVar("Result")
_UID = re.compile(r"\b\d+(?:\.\d+){4,}")
_OUT_OF_MEMORY = ("MemoryError", "OutOfMemoryError")  # of Python and NumPy, and of PyTorch


class CaseError(SegpipeError):
    """Something that nobody foresaw went wrong in one case, and costs that case alone."""


def attempt(work: Callable[[], Result], **where: object) -> Result | SegpipeError:
    """Does the work on one case and returns what comes of it, or the error that it ended in.

    An interrupt (`KeyboardInterrupt`, `SystemExit`) is not an error of the case and goes through.

    Args:
        work: What is done with the case.
        where: Facts that name the case, e.g. `case="LUNG_042"`.
    """
    try:
        return work()
    except Exception as error:
        return as_case_error(error, **where)


def attempt_step(work: Callable[[], Result]) -> tuple[Result | None, SegpipeError | None]:
    """Does a step that others can do without: returns what comes of it, or None and the error, which is logged."""
    outcome = attempt(work)
    if isinstance(outcome, SegpipeError):
        log.error("%s", explain(outcome))
        return None, outcome
    return outcome, None


def as_case_error(error: Exception, **where: object) -> SegpipeError:
    """The error as one that a message can explain; it holds no frames, which would keep the case's scan in memory.

    >>> print(as_case_error(ValueError("no such axis"), case="LUNG_042"))
    ValueError: no such axis
      case  LUNG_042
    """
    log.debug("a case failed", exc_info=error)
    if isinstance(error, SegpipeError):
        return error.with_facts(**where)
    kind = type(error).__name__
    if kind in _OUT_OF_MEMORY:
        hint = "close other programs, use fewer workers, or take a machine with more memory"
        return CaseError(f"{kind}: the memory does not suffice for this case", facts=where, hint=hint)
    return CaseError(f"{kind}: {_first_line(error)}", facts=where)


def _first_line(error: Exception) -> str:
    """What the error says, without the UIDs that a library may quote of a DICOM file."""
    line = (str(error).strip().splitlines() or ["no further message"])[0]
    return _UID.sub("UID", line)[:300]
